"""Karras: noise levels for training that are even in a root of the noise level, as EDM's grid is."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import noise_ends
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution, on_table


@dataclass(frozen=True)
class KarrasTimeDistribution(TimeDistribution):
    """sigma/alpha = (sigma_max^(1/rho) + u (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho  with u uniform on
    (margin, 1 - margin), clipped to the schedule's range.

    Raises Refused for levels that do not lie in order, rho <= 0 and a margin outside [0, 1/2).
    Source: arXiv:2405.14867, whose code draws one of 1,000 levels of EDM's grid (arXiv:2206.00364, eq. 5).
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max or not self.rho > 0 or not 0 <= self.margin < 0.5:
            raise Refused(
                "karras times need 0 < sigma_min < sigma_max, rho > 0 and a margin from 0 to below 1/2, not "
                f"{self.sigma_min:g}, {self.sigma_max:g}, {self.rho:g} and {self.margin:g}"
            )

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        noisiest, least = noise_ends(schedule).exp()
        high = noisiest.clamp(max=self.sigma_max) ** (1 / self.rho)
        low = least.clamp(min=self.sigma_min) ** (1 / self.rho)
        u = self.margin + (1 - 2 * self.margin) * random.uniform((count,))
        level = (high + u * (low - high)).log() * self.rho
        return on_table(schedule.time(-2 * level), schedule, 0.0).clamp(min=1e-9)
