"""A consistency model that is made of another run: what the two must have in common, and its recipe."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.jumps import WORDS
from undiffuse.core.objective import Objective
from undiffuse.objectives.guidance_weights import at_usual_weight, check_weights
from undiffuse.objectives.teachers import check_process
from undiffuse.objectives.training_share import TrainingShare


@dataclass(frozen=True, eq=False)
class ConsistencyStudent(Objective, ABC):
    """An objective of consistency models, which changes as training goes on and may have a teacher.

    teacher: a run whose weights training starts from, or guidance around one.
    """

    families: ClassVar[frozenset[str]] = VALUES
    jumps: ClassVar[frozenset[str]] = frozenset({"data"})
    trains: ClassVar[type] = Denoiser

    teacher: Denoiser | None = None
    training: TrainingShare = field(default_factory=TrainingShare, init=False, repr=False)

    @abstractmethod
    def check(self, model: Any) -> None:
        """Raises Refused for a model and a teacher that do not go together."""

    def begin(self, model: Any, steps: int) -> None:
        self.check(model)
        self.training.steps = steps

    def after(self, model: Any, step: int) -> None:
        self.training.reached.fill_(step)

    def state(self) -> dict[str, Tensor]:
        return {"reached": self.training.reached}

    def initial(self) -> nn.Module | None:
        return None if self.teacher is None else self.teacher.predictor

    def reference(self, model: Any) -> Denoiser | None:
        return None if self.teacher is None else at_usual_weight(model, self.teacher)


def check_teacher(model: Denoiser, teacher: Denoiser | None, asked: bool) -> None:
    """Raises Refused for a teacher whose path is not the model's, or that takes few steps itself, and for a model that
    takes a guidance weight where no teacher is asked.
    """
    if model.guidance_input is not None and (teacher is None or not asked):
        raise Refused(
            "the student takes a guidance weight as an input, and no teacher is asked for guided guesses: leave "
            "denoiser.guidance_input out, or take objective.name = 'consistency' with a teacher"
        )
    if teacher is None:
        return
    check_process(model, teacher)
    if teacher.jumps != "none":
        raise Refused(f"the teacher is {WORDS[teacher.jumps]}: take the run that it was made from")
    if asked:
        check_weights(model, teacher)


def data_std(tables: Mapping[str, Any]) -> float:
    """What a recipe's parameterization says of the data's deviation; EDM's where it says nothing."""
    return float(tables.get("parameterization", {}).get("data_std", 0.5))


def consistency_tables(tables: Mapping[str, Any], to: int, **objective: Any) -> Mapping[str, Mapping[str, Any]]:
    """The tables of a consistency model that samples in `to` steps, made of the run of a recipe's tables."""
    grid = {"name": "logistic", "center": 1.6 * data_std(tables), "last": 1.0}
    return {
        "denoiser": {"jumps": "data"},
        "objective": objective,
        "sampler": {"name": "jump", "fresh": 1.0, "steps": to, "grid": grid},
    }
