"""MMPS: posterior sampling by moment matching, with the covariance that the denoiser's own Jacobian gives."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.posterior import Map, Posterior


@dataclass(frozen=True)
class MMPS(Posterior):
    """guess + C A' (A C A' + std^2)^-1 (y - A guess),  C = sigma^2/alpha J' = Cov(x_0 given x_t).

    Exact for Gaussian data and linear operators, once the iterations solve the system. Each costs a backward pass
    through the network. A trained network's Jacobian is symmetric and positive only nearly, and more iterations follow
    it further where it is neither: one is steady, several are for denoisers that are exact.
    Source: arXiv:2405.13712, eq. 16 to 19.
    """

    denoiser: Denoiser
    measurement: Measurement
    iterations: int = 1

    def covariance(self, jacobian: Map, t: Tensor | float, like: Tensor) -> Map:
        return jacobian
