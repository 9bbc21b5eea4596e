"""EDM's preconditioning: input and target of the network have unit variance."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class EDMParameterization(Parameterization):
    """EDM's F, whose input and target have unit variance:  with s = sigma/alpha,
    c_skip = data_std^2 / (s^2 + data_std^2) / alpha, c_out = s data_std / sqrt(s^2 + data_std^2),
    c_in = 1 / (alpha sqrt(s^2 + data_std^2)), c_time = log(s) / 4.

    Source: arXiv:2206.00364, table 1 (data_std 0.5), for any schedule by x_t / alpha = x_0 + s noise.
    Written so that alpha = 0 needs no division. Raises Refused unless data_std is above 0.
    """

    data_std: float = 0.5

    aliases: ClassVar[tuple[str, ...]] = ("karras", "edm_preconditioning")

    def __post_init__(self) -> None:
        if not self.data_std > 0:
            raise Refused(f"edm needs data_std > 0, the data's deviation, not {self.data_std:g}")

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = (alpha * self.data_std) ** 2 + sigma**2  # the variance of x_t
        return alpha * self.data_std**2 / total, sigma * self.data_std / total.sqrt(), total.rsqrt()

    def time(self, schedule: Schedule, t: Tensor) -> Tensor:
        return (-schedule.log_snr(t) / 8).clamp(-10, 10)
