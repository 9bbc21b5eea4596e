"""Karras: EDM's grid, equal steps of a root of the noise level."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, ending_at_data, line, noise_ends, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class Karras(Grid):
    """sigma/alpha = (sigma_max^(1/rho) + i/(steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, then 0;
    clipped to the schedule's range.

    Source: arXiv:2206.00364, eq. 5 (0.002, 80, 7). Raises Refused unless 0 < sigma_min < sigma_max and rho > 0.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max and self.rho > 0):
            raise Refused(
                f"karras needs 0 < sigma_min < sigma_max and rho > 0, not {self.sigma_min:g}, {self.sigma_max:g} and "
                f"{self.rho:g}"
            )

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        noisiest, least = noise_ends(schedule).exp()
        high = noisiest.clamp(max=self.sigma_max) ** (1 / self.rho)
        low = least.clamp(min=self.sigma_min) ** (1 / self.rho)
        return ending_at_data(schedule.time(-2 * self.rho * line(high, low, positive(steps)).log()))
