"""A consistency model that is made of another run: what the two must have in common, and its recipe."""

from collections.abc import Mapping
from typing import Any

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import WORDS
from undiffuse.objectives.guidance_weights import check_weights


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
    if teacher.process != model.process:
        raise Refused(
            f"the teacher's process is {teacher.process}, and the student's {model.process}: a student has that of its "
            "teacher"
        )
    if teacher.jumps != "none":
        raise Refused(f"the teacher is {WORDS[teacher.jumps]}: take the run that it was made from")
    if asked:
        check_weights(model, teacher)


def data_std(tables: Mapping[str, Any]) -> float:
    """What a recipe's parameterization says of the data's deviation; EDM's where it says nothing."""
    return float(tables.get("parameterization", {}).get("data_std", 0.5))


def consistency_tables(tables: Mapping[str, Any], to: int, **objective: Any) -> Mapping[str, Mapping[str, Any]]:
    """The tables of a consistency model that samples in `to` steps, made of the run of a recipe's tables."""
    grid = {"name": "logistic", "center": 1.6 * data_std(tables)}
    return {
        "denoiser": {"jumps": "data"},
        "objective": objective,
        "sampler": {"name": "jump", "fresh": 1.0, "steps": to, "grid": grid},
    }
