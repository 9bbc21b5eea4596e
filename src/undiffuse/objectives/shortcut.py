"""Shortcut models: a flow map from data alone, whose long jump is taught by two jumps of half its length."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from undiffuse.core import registry, straight_path
from undiffuse.core.broadcast import factor
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.named_parts import rows
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.time_distributions.log_normal import LogNormal

# in tau, as the jumps that are trained
EVEN: Final = {"name": "logistic", "center": 1.0, "spread": 1.0, "last": 1.0}


@dataclass(frozen=True)
class Shortcut(Objective):
    """loss = |u(tau -> tau - 2d) - (u(tau -> tau - d) + u'(tau - d -> tau - 2d)) / 2|^2 / dimensions for a share of the
    samples, the target without a gradient, and flow matching, |v - (noise - x_0)|^2 / dimensions, for the others.

    u are average velocities on the straight path, which any schedule is after a change of scale and time (see
    `straight_path`); u' starts where the first half lands. 2d is 1, 1/2, ... 2/finest of the path, each as likely, and
    tau a multiple of it; halves of the shortest are taken for instants.
    finest: the number of the shortest steps, a power of 2. bootstrap: the share. times: law of the noise levels of flow
    matching.
    Raises Refused for a share outside [0, 1] and for a finest step that is no power of 2.
    Source: arXiv:2410.12557, sec. 3, with targets of the current weights.
    """

    families: ClassVar[frozenset[str]] = VALUES
    jumps: ClassVar[frozenset[str]] = frozenset({"any"})
    trains: ClassVar[type] = Denoiser
    distils: ClassVar[bool] = True

    finest: int = 128
    bootstrap: float = 0.25
    times: TimeDistribution = field(default_factory=lambda: LogNormal(-0.4, 1.0))

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        """From the run's weights, on its noise levels."""
        if to & (to - 1) or to > cls.finest:
            raise Refused(f"shortcut takes 1, 2, 4 ... {cls.finest} steps, each half as long as one before: not {to}")
        times = {name: tables["objective"][name] for name in ("times",) if name in tables["objective"]}
        return {
            "init": {"run": run},
            "denoiser": {"jumps": "any"},
            "objective": {"name": "shortcut", **times},
            "sampler": {"name": "jump", "steps": to, "grid": EVEN},
        }

    def __post_init__(self) -> None:
        if self.finest < 2 or self.finest & (self.finest - 1):
            raise Refused(f"shortcut needs a power of 2 as its finest number of steps, such as 128, not {self.finest}")
        if not 0 <= self.bootstrap <= 1:
            raise Refused(f"shortcut needs a bootstrap share in [0, 1], not {self.bootstrap:g}")

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        if batch.mask is not None:
            raise Refused(f"objective {registry.name_of(self)!r} cannot leave padding out: take denoising")
        x_0, schedule, n = batch.x, model.process.schedule, len(batch)
        t, end, shortest = self.places(schedule, random, n)
        alpha, sigma = (each.to(x_0.dtype) for each in schedule.at(t, x_0))
        noise = random.fold(3).normal(tuple(x_0.shape), x_0.dtype, x_0.device)
        x_t, target = alpha * x_0 + sigma * noise, noise - x_0
        if len(jumping := (end < t).nonzero().flatten()):
            x, cond = x_t[jumping], rows(batch.cond, jumping)
            target[jumping] = self.halves(model, x, t[jumping], end[jumping], shortest[jumping], cond).to(target.dtype)
        error = straight_path.velocity(model, x_t, t, end, **batch.cond) - target
        return error.square().flatten(1).mean(1)

    def reference(self, model: Any) -> Denoiser | None:
        return model

    def places(self, schedule: Any, random: Random, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where each sample's jump starts and ends, (n,) times, the same for an instant, and whether it is a shortest
        one.
        """
        count = 2 ** random.fold(0).integers(self.finest.bit_length() - 1, (n,))  # of such jumps on the whole way
        which = (random.fold(1).uniform((n,)) * count).floor() + 1
        whole = straight_path.place(schedule, torch.ones((), dtype=torch.float64))
        start, end = (straight_path.time_of(schedule, whole * (which - back) / count) for back in (0, 1))
        instant, alone = random.fold(2).uniform((n,)) >= self.bootstrap, self.times(schedule, random.fold(4), n)
        start, end = (torch.where(instant, alone, each) for each in (start, end))
        return start, end, 2 * count == self.finest

    @torch.no_grad()
    def halves(self, model: Any, x_t: Tensor, t: Tensor, end: Tensor, shortest: Tensor, cond: Any) -> Tensor:
        """The mean of the velocities of two jumps of half the length each, in x_t's shape; shortest: (batch,), whose
        halves are instants.
        """
        schedule = model.process.schedule
        tau, last = (straight_path.place(schedule, each) for each in (t, end))
        middle = straight_path.time_of(schedule, (tau + last) / 2)
        first = straight_path.velocity(model, x_t, t, torch.where(shortest, t, middle), **cond)
        (alpha, sigma), (alpha_m, sigma_m) = (schedule.at(each, x_t) for each in (t, middle))
        half = factor((tau - last) / 2, x_t)
        z = x_t / (alpha + sigma).to(x_t.dtype) - half * first
        x_m = (alpha_m + sigma_m).to(x_t.dtype) * z
        second = straight_path.velocity(model, x_m, middle, torch.where(shortest, middle, end), **cond)
        return (first + second) / 2
