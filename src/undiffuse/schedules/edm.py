"""EDM's schedule: noise is added to unscaled data, and time is its standard deviation."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import VarianceExploding


@dataclass(frozen=True)
class EDMSchedule(VarianceExploding):
    """sigma(t) = sigma_max t, alpha = 1.

    Source: arXiv:2206.00364, table 1 (sigma_max 80). sigma_min and rho belong to the Karras grid.
    """

    noisiest: ClassVar[Mapping[str, float]] = MappingProxyType({"sigma_max": 50})

    sigma_max: float = 80.0

    aliases: ClassVar[tuple[str, ...]] = ("karras",)

    def __post_init__(self) -> None:
        if not self.sigma_max > 0:
            raise Refused(f"edm needs sigma_max > 0, not {self.sigma_max:g}")

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t.double()

    def time(self, log_snr: Tensor) -> Tensor:
        return ((-log_snr.double() / 2).exp() / self.sigma_max).clamp(max=1)
