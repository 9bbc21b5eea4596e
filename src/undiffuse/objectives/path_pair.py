"""A pair of times on one path: what objectives share that make the guesses at both agree."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core import families, registry
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.distribution import counted
from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.generators import rewind
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule


@dataclass(frozen=True, eq=False)
class PathPair(Objective, ABC):
    """loss = weight distance(guess(x_t, t), stopgrad target(x_s, s)), with s < t and x_s on the path through x_t.

    x_s keeps the noise of x_t, as one step of the ODE with the item itself as the guess; with a teacher and a solver it
    is one step of the solver on the teacher. Where s is the boundary, the least noise of all pairs, the target is
    x_s / alpha_s whatever a network says. Layers such as dropout draw the same at both times.
    teacher: a run whose weights training starts from. solver: a deterministic sampler, None to keep the noise.
    training_steps: those over which the pairs come closer together; of a recipe train.steps; 0: they are close at once.
    Raises Refused for a teacher that takes few steps itself or has another schedule, for a solver that is not
    deterministic, and for a schedule whose noise at t = 1 has no finite level.
    Source: arXiv:2303.01469, eq. 7 and 10.
    """

    families: ClassVar[frozenset[str]] = VALUES
    trains: ClassVar[type] = Denoiser

    teacher: Predictor | None = None
    solver: Sampler | None = None
    training_steps: int = 0
    _reached: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64), init=False, repr=False)

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        families.check(self, model.process)
        self._check(model.process.schedule)
        process, x_0 = model.process, model.state_of(batch.x)
        t, s, boundary = self.pairs(process.schedule, random.fold(0), len(batch), max(step, int(self._reached)))
        x_t = process.marginal(x_0, t).sample(random.fold(1))
        x_s = self._earlier(process, x_0, x_t, t, s, batch.given)
        again = rewind(model.device)
        guess = model(x_t, t, **batch.given)
        again()
        target = self._target(self.target(model), x_s, s, boundary, batch.given)
        mask = batch.mask
        error = guess.error(target) if mask is None else guess.masked(mask).error(target)
        size = max(1, x_0[0].numel()) if mask is None else counted(x_0, mask).to(error)
        return self.weighed(error, size, *(level(process.schedule, each).to(error) for each in (t, s)))

    @abstractmethod
    def pairs(self, schedule: Schedule, random: Random, count: int, step: int) -> tuple[Tensor, Tensor, float]:
        """Times t and s, (count,) in float64, at a step of the training, and the time of the boundary."""

    @abstractmethod
    def weighed(self, error: Tensor, size: Tensor | int, t: Tensor, s: Tensor) -> Tensor:
        """The loss of each item, (batch,). error: the square of the distance, summed over the numbers of an item, of
        which there are `size`. t, s: noise levels sigma/alpha of the pair.
        """

    def target(self, model: Any) -> Any:
        """Whose guess at s is aimed at: by default the model's own."""
        return model

    def after(self, model: Any, step: int) -> None:
        self._reached.fill_(step)

    def state(self) -> dict[str, Tensor]:
        return {"reached": self._reached}

    def initial(self) -> nn.Module | None:
        return self.teacher

    def share(self, step: int) -> float:
        """How much of the training is done at a step, from 0 to 1."""
        return min(1.0, step / self.training_steps) if self.training_steps else 1.0

    def _earlier(self, process: Any, x_0: Tensor, x_t: Tensor, t: Tensor, s: Tensor, given: Any) -> Tensor:
        """x_s on the path through x_t."""
        if self.teacher is None or self.solver is None:
            return process.bridge(x_t, process.point(x_0), s, t, process.keep(s, t, x_t)).mean
        with torch.no_grad():
            landed: Any = self.solver.step(self.teacher, x_t, t, s, random=Random(0), **given)[0]
        return landed.mean

    @torch.no_grad()
    def _target(self, model: Any, x_s: Tensor, s: Tensor, boundary: float, given: Any) -> Tensor:
        ends = s <= boundary
        alpha = model.process.schedule.at(s, x_s)[0].to(x_s.dtype)
        if bool(ends.all()):
            return x_s / alpha
        guess = model(x_s, s, **given).mean
        return torch.where(ends.to(x_s.device).reshape(alpha.shape), x_s / alpha, guess)

    def _check(self, schedule: Schedule) -> None:
        name = registry.name_of(self)
        if not math.isfinite(float(schedule.log_snr(torch.ones((), dtype=torch.float64)))):
            raise Refused(
                f"objective {name!r} goes through noise levels up to that at t = 1, and {registry.name_of(schedule)} "
                "leaves no signal there: take schedule.name = 'edm', or objective.name = 'continuous_consistency'"
            )
        if self.teacher is None:
            return
        if why := self.teacher.no_density():
            raise Refused(f"objective {name!r} needs a teacher that takes many steps: of this one, {why}")
        if self.teacher.process.schedule != schedule:
            raise Refused(
                f"objective {name!r}: the teacher was trained with {self.teacher.process.schedule}, and the schedule "
                f"here is {schedule}: take the same"
            )


def level(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma/alpha at t, in float64."""
    return schedule.sigma(t) / schedule.alpha(t)


def pseudo_huber(error: Tensor, size: Tensor | int, share: float) -> Tensor:
    """sqrt(error + c^2) - c with c = share sqrt(size): the square of a small distance, and the size of a large one."""
    c = share * torch.as_tensor(size, dtype=error.dtype, device=error.device).sqrt()
    return (error + c**2).sqrt() - c


def check_huber(huber: float, name: str) -> None:
    """Raises Refused for a constant of the pseudo-Huber distance that makes no sense."""
    if not 0 < huber < math.inf:
        raise Refused(f"{name} needs huber > 0, the distance's c over sqrt(numbers of an item), not {huber:g}")
