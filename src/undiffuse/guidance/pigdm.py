"""PiGDM: pseudo-inverse guidance by a measurement, with one variance for x_0 given x_t."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.posterior import Map, Posterior


@dataclass(frozen=True)
class PiGDM(Posterior):
    """guess + sigma^2/alpha J' A' (r^2 A A' + std^2)^-1 (y - A guess),  r^2 = sigma^2 v / (alpha^2 v + sigma^2).

    r^2 is the exact variance of x_0 given x_t for independent data of variance v = data_std^2, and exact then only.
    iterations: of conjugate gradients; one is enough where A A' is a multiple of the identity (masks, pooling).
    Source: Song et al., Pseudoinverse-guided diffusion models for inverse problems (ICLR 2023), eq. 7 and sec. 3.2.
    """

    denoiser: Denoiser
    measurement: Measurement
    data_std: float = 1.0
    iterations: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data_std > 0:
            raise Refused(f"pigdm needs data_std > 0, not {self.data_std:g}")

    def covariance(self, jacobian: Map, t: Tensor | float, like: Tensor) -> Map:
        alpha, sigma = self.process.schedule.at(t, like)
        v = self.data_std**2
        r2 = (sigma**2 * v / (alpha**2 * v + sigma**2)).to(like)
        return lambda x: r2 * x
