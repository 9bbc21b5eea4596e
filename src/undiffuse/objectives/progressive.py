"""Progressive distillation: one step of the student is two of the teacher's, and again, until few are left."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from undiffuse.core import families, registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.jumps import WORDS
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.grids.angle import Angle
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.guidance_weights import at_usual_weight, check_weights, with_weights
from undiffuse.objectives.noisy_end import refuse_silent
from undiffuse.objectives.teachers import check_process
from undiffuse.samplers.ddim import DDIM

START = 16  # steps of the first student, at least
FEW = 2  # phases of so many steps and fewer are twice as long


@dataclass(frozen=True, eq=False)
class Progressive(Objective):
    """loss = w(SNR) |guess - x~|^2 / d,  with x~ such that one step of DDIM by it is two steps by the teacher.

    At a time t of the grid of N steps, with t' and t'' the next two times of the grid of 2N: two steps of DDIM by the
    teacher's guesses lead from x_t to x_t' and x_t'', and

        x~ = (x_t'' - keep x_t) / (alpha_t'' - keep alpha_t),  keep = sigma_t'' / sigma_t.

    The first phase has N = first; after each phase the student is the teacher, and N is halved, down to last. The model
    is for the times of its last phase alone, and guesses what a step to the next of them needs.
    teacher: a run that denoises, or guidance around one: the student learns the guided guess, and takes the weight as
    an input where the guidance does, see `ClassifierFreeInput`. grid: one whose 2N times hold its N times.
    weighting: "truncated_snr", "snr_plus_one" or "edm", see `Denoising`. lengths: of the phases, as shares of one
    another; by default those of 1 and 2 steps are twice as long as others. The learning rate warms up and decays in
    each phase.
    Raises Refused for steps that halving does not lead to, and grids that do not halve.
    Source: arXiv:2202.00512, alg. 2.
    """

    families: ClassVar[frozenset[str]] = families.VALUES
    jumps: ClassVar[frozenset[str]] = frozenset({"fixed"})
    distils: ClassVar[bool] = True
    trains: ClassVar[type] = Denoiser

    teacher: Denoiser
    first: int = 16
    last: int = 1
    grid: Grid = field(default_factory=Angle)
    weighting: Literal["truncated_snr", "snr_plus_one", "edm"] = "truncated_snr"
    data_std: float = 0.5
    lengths: tuple[float, ...] = ()
    _phase: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64), init=False, repr=False)
    _moving: nn.ModuleDict = field(default_factory=nn.ModuleDict, init=False, repr=False)
    _ends: list[int] = field(default_factory=list[int], init=False, repr=False)

    @classmethod
    def student(cls, tables: Mapping[str, Any], run: str, teacher: Any, to: int) -> Mapping[str, Mapping[str, Any]]:
        std = float(tables.get("parameterization", {}).get("data_std", 1.0))
        first, grid = to << max(0, math.ceil(math.log2(START / max(to, 1)))), {"name": "angle", "data_std": std}
        if tables.get("denoiser", {}).get("jumps") == "fixed":
            known, grid = int(tables["sampler"]["steps"]), tables["sampler"]["grid"]
            able = [known >> i for i in range(1, known.bit_length()) if known % (1 << i) == 0]
            if to not in able:
                raise Refused(
                    f"{run} is a student of {known} steps, which progressive halves: --to is "
                    f"{' or '.join(map(str, able)) or 'nothing'}, not {to}"
                )
            first = known // 2
        how = {"first": first, "last": to, "grid": grid, "data_std": std}
        return {
            "denoiser": {"jumps": "fixed"},
            "objective": {"name": "progressive", "teacher": teacher, **how},
            "sampler": {"name": "ddim", "steps": to, "grid": grid},
        }

    def __post_init__(self) -> None:
        if self.last < 1 or self.last << (len(self.counts) - 1) != self.first:
            raise Refused(
                "progressive halves its steps from first to last: first is 1, 2, 4, 8 ... times last, and last at "
                f"least 1, not {self.first} and {self.last}"
            )
        if self.lengths and (len(self.lengths) != len(self.counts) or not min(self.lengths) > 0):
            raise Refused(
                f"progressive has {len(self.counts)} phases here, of {', '.join(map(str, self.counts))} steps: lengths "
                f"are as many numbers above 0, not {', '.join(f'{length:g}' for length in self.lengths)}"
            )

    @property
    def counts(self) -> list[int]:
        """The steps of the student in each phase."""
        found = [self.first]
        while found[-1] > max(self.last, 1):
            found.append(found[-1] // 2)
        return found

    @property
    def steps(self) -> int:
        """The steps of the student in this phase."""
        return self.counts[int(self._phase)]

    def phase_ends(self, steps: int) -> tuple[int, ...]:
        lengths = self.lengths or tuple(2.0 if count <= FEW else 1.0 for count in self.counts)
        return tuple(round(steps * part / sum(lengths)) for part in accumulate(lengths))

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        families.check(self, model.process)
        process, times = model.process, self.grid(model.process.schedule, 2 * self.steps)
        at = 2 * random.fold(0).integers(self.steps, (len(batch),), "cpu")
        t, middle, end = (times[at + i] for i in range(3))
        x_t = process.marginal(model.state_of(batch.x), t).sample(random.fold(1))
        teacher: Any = self._moving["teacher"] if self._phase else self.teacher
        batch = with_weights(model, batch, random.fold(2))
        with torch.no_grad():
            target = two_steps(teacher, x_t, t, middle, end, **batch.given)
        guess = model(x_t, t, **batch.given)
        return Denoising(self.weighting, data_std=self.data_std).of(guess, target, process.schedule, t, batch.mask)

    def begin(self, model: Any, steps: int) -> None:
        self._check(model)
        self._ends[:] = self.phase_ends(steps)
        if len(self._ends) > 1:
            self._moving["teacher"] = copy.deepcopy(model).eval().requires_grad_(False)

    def after(self, model: Any, step: int) -> None:
        phase = sum(step >= end for end in self._ends[:-1])
        if phase > self._phase:
            self._moving["teacher"].load_state_dict(model.state_dict())
            self._phase.fill_(phase)

    def state(self) -> dict[str, Tensor]:
        return {"phase": self._phase, **self._moving.state_dict()}

    def initial(self) -> nn.Module | None:
        return self.teacher.predictor

    def sampled(self, process: Any) -> tuple[Sampler, Tensor]:
        return DDIM(), self.grid(process.schedule, self.last)

    def reference(self, model: Any) -> Denoiser | None:
        return None if self.teacher.jumps == "fixed" else at_usual_weight(model, self.teacher)

    def _check(self, model: Any) -> None:
        """Raises Refused for a teacher and a model that do not go together."""
        schedule, teacher = model.process.schedule, self.teacher
        refuse_silent(model, self)
        check_weights(model, teacher)
        check_process(model, teacher)
        if teacher.jumps == "data":
            raise Refused(f"the teacher is {WORDS['data']}: take the run that it was made from")
        for count in (2 * count for count in self.counts):
            if not torch.allclose(self.grid(schedule, count)[::2], self.grid(schedule, count // 2), rtol=0, atol=1e-9):
                raise Refused(
                    f"progressive needs a grid whose {count} steps hold its {count // 2}, and "
                    f"{registry.name_of(self.grid)} is none: take angle or even"
                )
        grid = registry.name_of(self.grid)
        if (known := teacher.jump_times) and not _same(known, self.grid(schedule, 2 * self.first)):
            raise Refused(
                f"the teacher is {WORDS['fixed']}, of {len(known) - 1} steps, and its first student is to have "
                f"{self.first} on grid {grid}: half as many, on the same grid"
            )


def _same(times: tuple[float, ...], wanted: Tensor) -> bool:
    return len(times) == len(wanted) and torch.allclose(torch.tensor(times, dtype=wanted.dtype), wanted, atol=1e-9)


def two_steps(teacher: Denoiser, x_t: Tensor, t: Tensor, middle: Tensor, end: Tensor, **cond: Any) -> Tensor:
    """The guess x~ whose step of DDIM from x_t at t lands at `end` where two steps by the teacher land, by way of
    `middle`; times are () or (batch,).

    It lies between the teacher's two guesses:  x~ = guess + share (guess' - guess), so that nothing is divided by what
    may be small; at end = 0 the share is 1.
    """
    process: Any = teacher.process
    first: Any = teacher(x_t, t, **cond).mean_only()
    between = process.bridge(x_t, first, middle, t, process.keep(middle, t, x_t)).mean
    second: Any = teacher(between, middle, **cond)
    (alpha, sigma), (alpha_middle, sigma_middle), (alpha_end, sigma_end) = (
        process.schedule.at(time, x_t) for time in (t, middle, end)
    )
    rest = sigma_end / sigma_middle * (alpha_middle - sigma_middle / sigma * alpha)
    share = 1 - rest / (alpha_end - sigma_end / sigma * alpha)
    return first.mean + share.to(x_t.dtype) * (second.mean - first.mean)
