"""Consistency: EDM's preconditioning, shifted so that the least noise level is left as it is."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Consistency(Parameterization):
    """A consistency function: EDM's F, shifted so that guess = x_t / alpha exactly at s = sigma_min:
    with s = sigma/alpha,
    c_skip = data_std^2 / ((s - sigma_min)^2 + data_std^2) / alpha,
    c_out = (s - sigma_min) data_std / sqrt(s^2 + data_std^2), c_in as EDM, c_time = 250 log(s).

    Source: arXiv:2303.01469, app. C, and the released code. Below sigma_min the guess is x_t / alpha.
    Raises Refused unless data_std is above 0 and sigma_min 0 or more.
    """

    data_std: float = 0.5
    sigma_min: float = 0.002

    def __post_init__(self) -> None:
        if not (self.data_std > 0 and self.sigma_min >= 0):
            raise Refused(
                f"consistency needs data_std > 0 and sigma_min >= 0, not {self.data_std:g} and {self.sigma_min:g}"
            )

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        over = (sigma - self.sigma_min * alpha).clamp(min=0)  # alpha (s - sigma_min)
        total = ((alpha * self.data_std) ** 2 + sigma**2).sqrt()
        return (
            alpha * self.data_std**2 / (over**2 + (alpha * self.data_std) ** 2),
            over * self.data_std / total,
            1 / total,
        )

    def time(self, schedule: Schedule, t: Tensor) -> Tensor:
        return (-125 * schedule.log_snr(t)).clamp(-10000, 10000)

    def no_density(self) -> str:
        return "a consistency function guesses where a path ends, not the mean of the data"
