"""Log-SNR: equal steps of the log signal-to-noise ratio."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, ending_at_data, line, positive
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True)
class LogSNR(Grid):
    """Even in log-SNR from t = 1 to t_min, then 0 (arXiv:2206.00927, sec. 3.3);
    log-SNR is clipped to +-limit where it is infinite. Raises Refused unless t_min is in [0, 1) and limit above 0.
    """

    t_min: float = 1e-3
    limit: float = 20.0

    aliases: ClassVar[tuple[str, ...]] = ("exponential",)

    def __post_init__(self) -> None:
        if not (0 <= self.t_min < 1 and self.limit > 0):
            raise Refused(f"log_snr needs t_min in [0, 1) and limit > 0, not {self.t_min:g} and {self.limit:g}")

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        ends = schedule.log_snr(torch.tensor([1.0, self.t_min], dtype=torch.float64)).clamp(-self.limit, self.limit)
        return ending_at_data(schedule.time(line(ends[0], ends[1], positive(steps))), start=1.0)
