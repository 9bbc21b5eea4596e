"""A pair of times on one path: what objectives share that make the guesses at both agree."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import families, registry
from undiffuse.core.distribution.distribution import counted
from undiffuse.core.errors import Refused
from undiffuse.core.generators import rewind
from undiffuse.core.objective import RUN, Batch
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.objectives.consistency_student import ConsistencyStudent, check_teacher
from undiffuse.objectives.guidance_weights import with_weights
from undiffuse.objectives.noisy_end import refuse_silent


@dataclass(frozen=True, eq=False)
class PathPair(ConsistencyStudent, ABC):
    """loss = weight distance(guess(x_t, t), stopgrad target(x_s, s)), with s < t and x_s on the path through x_t.

    x_s keeps the noise of x_t: one step of the ODE with the item itself as the guess; with a teacher and a solver it is
    one step of the solver by the teacher's guesses. Where s is the boundary, the least noise of all pairs, the target
    is x_s / alpha_s, whatever a network says. Layers such as dropout draw the same at both times.
    teacher: a run whose weights training starts from, or guidance around one. solver: a sampler that draws nothing;
    None: x_s keeps the noise.
    The pairs come closer together during the training; asked outside one, they are as close as they get.
    Raises Refused for a teacher that takes few steps itself or has another process, for a solver that draws, and for a
    schedule whose noise at t = 1 has no finite level.
    Source: arXiv:2303.01469, eq. 7 and 10.
    """

    solver: Sampler | None = None

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        families.check(self, model.process)
        batch = with_weights(model, batch, random.fold(2))
        process, x_0 = model.process, model.state_of(batch.x)
        t, s, boundary = self.pairs(process.schedule, random.fold(0), len(batch))
        x_t = process.marginal(x_0, t).sample(random.fold(1))
        x_s = self._earlier(process, x_0, x_t, t, s, batch.given)
        again = rewind(model.device)
        guess = model(x_t, t, **batch.given)
        again()
        target = self._target(self.target(model), x_s, s, boundary, batch.given)
        error = guess.error(target) if batch.mask is None else guess.masked(batch.mask).error(target)
        size = torch.full_like(error, x_0[0].numel()) if batch.mask is None else counted(x_0, batch.mask).to(error)
        return self.weighed(error, size, *(level(process.schedule, each).to(error) for each in (t, s)))

    @abstractmethod
    def pairs(self, schedule: Schedule, random: Random, count: int) -> tuple[Tensor, Tensor, float]:
        """Times t and s, (count,) in float64, as close as they are now, and the time of the boundary."""

    @abstractmethod
    def weighed(self, error: Tensor, size: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The loss of each item, (batch,). error: the square of the distance, summed over the numbers of an item, of
        which there are `size`. t, s: noise levels sigma/alpha of the pair. All (batch,).
        """

    def target(self, model: Any) -> Any:
        """Whose guess at s is aimed at: the model's own, unless the objective keeps an average."""
        return model

    def _earlier(self, process: Any, x_0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, given: Any) -> Tensor:
        """x_s on the path through x_t."""
        if self.teacher is None or self.solver is None:
            return process.bridge(x_t, process.point(x_0), s, t, process.keep(s, t, x_t)).mean
        with torch.no_grad():
            landed: Any = self.solver.step(self.teacher, x_t, t, s, random=Random(0), **given)[0]
        if x_t.device.type == "cpu" and not landed.certain:
            raise Refused(f"solver {registry.name_of(self.solver)!r} draws noise, and a path has none: take heun")
        return landed.mean

    @torch.no_grad()
    def _target(self, model: Any, x_s: Tensor, s: Tensor, boundary: float, given: Any) -> Tensor:
        ends = s <= boundary
        alpha = model.process.schedule.at(s, x_s)[0].to(x_s.dtype)
        if bool(ends.all()):
            return x_s / alpha
        guess = model(x_s, s, **given).mean
        return torch.where(ends.to(x_s.device).reshape(alpha.shape), x_s / alpha, guess)

    def check(self, model: Any) -> None:
        name, process = registry.name_of(self), model.process
        refuse_silent(model, self)
        if not math.isfinite(float(process.schedule.log_snr(torch.ones((), dtype=torch.float64)))):
            raise Refused(
                f"objective {name!r} needs finite noise levels, and schedule {registry.name_of(process.schedule)!r} "
                "leaves no signal at t = 1: take one that does, such as edm, or the objective continuous_consistency"
            )
        check_teacher(model, self.teacher, asked=self.solver is not None)
        if self.teacher is not None and self.solver is not None:
            families.check(self.solver, process)
            if not self.solver.batch_times:
                raise Refused(f"solver {registry.name_of(self.solver)!r} takes one time for a whole batch: take heun")


def level(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma/alpha at t, in float64."""
    return schedule.sigma(t) / schedule.alpha(t)


def pseudo_huber(error: Tensor, size: Tensor, huber: float) -> Tensor:
    """sqrt(error + c^2) - c with c = huber sqrt(size): about error/(2 c) below c, and the distance itself above it."""
    c = huber * size.sqrt()
    return (error + c**2).sqrt() - c


def check_huber(huber: float, name: str) -> None:
    """Raises Refused for a constant of the pseudo-Huber distance that makes no sense."""
    if not 0 < huber < math.inf:
        raise Refused(f"{name} needs huber > 0, the distance's c over sqrt(numbers of an item), not {huber:g}")
