"""The last losses at each time, and the times drawn by them: importance-sampled training."""

from typing import Any, cast

import torch
from torch import Tensor

from undiffuse.core.objective import Objective
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.importance import Importance
from undiffuse.time_distributions.uniform import Uniform

PARTS = 100  # of (0, 1), where the schedule is continuous


class History:
    """p_i = sqrt(E[L_i^2]) / sum over the last losses of each of n times, mixed with 1/n; a loss counts 1/(n p_i).

    n: the table's steps; on a continuous schedule even parts of (0, 1). Uniform until every time has its losses. The
    mean of the weighted losses is that of uniform times for any chances above 0.
    losses: (n, recent) float64, counts: (n,) int64, how many each time has had. On the CPU, and changed in place.
    Source: arXiv:2102.09672, eq. 18, and the released code.
    """

    def __init__(self, draw: Importance, schedule: Schedule) -> None:
        self.draw, self.schedule = draw, schedule
        n = schedule.steps or PARTS
        self.losses = torch.zeros(n, draw.recent, dtype=torch.float64)
        self.counts = torch.zeros(n, dtype=torch.int64)

    @classmethod
    def of(cls, objective: Objective, module: Any) -> "History | None":
        """The history that an objective's times are drawn by, or None where they need none."""
        draw: Any = cast("Timed", objective).times if objective.timed else None
        return cls(draw, module.process.schedule) if draw and draw.learned else None

    @property
    def chances(self) -> Tensor:
        """p, (n,)."""
        even = torch.full((len(self.counts),), 1 / len(self.counts), dtype=torch.float64)
        size = self.losses.square().mean(1).sqrt()
        if int(self.counts.min()) < self.draw.recent or float(size.sum()) == 0:
            return even
        return (1 - self.draw.uniform) * size / size.sum() + self.draw.uniform * even

    def __call__(self, random: Random, count: int) -> tuple[Tensor, Tensor]:
        """Times, and how often the loss at each counts: (count,) float64 each."""
        p = self.chances
        ends = p.cumsum(0) / p.sum()
        u = random.uniform((count,)).cpu()
        part = torch.searchsorted(ends, u).clamp(max=len(p) - 1)
        inside = ((u - ends[part]) / p[part] + 1).clamp(1e-6, 1)  # where in its part
        t = (part + inside) / len(p)
        if self.schedule.steps:
            t = (part + 1).double() / len(p)
        return t.clamp(min=Uniform().t_min), p.sum() / (len(p) * p[part])

    def add(self, times: Tensor, losses: Tensor) -> None:
        """Remember unweighted losses, (count,) each, in their order."""
        n = len(self.counts)
        part = self.schedule.step(times) if self.schedule.steps else (times.double() * n).ceil().long()
        parts = (part - 1).clamp(0, n - 1)
        held, seen = self.losses.numpy(), self.counts.numpy()
        for part, loss in zip(parts.tolist(), losses.tolist(), strict=True):
            held[part, seen[part] % self.draw.recent] = loss
            seen[part] += 1
