"""The guidance weights that a student takes as an input: drawn in training, and given to its teacher as well."""

from typing import Any

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import GUIDANCE
from undiffuse.core.random import Random


def with_weights(model: Denoiser, cond: dict[str, Any], random: Random, count: int) -> dict[str, Any]:
    """What model and teacher are called with: the conditions, and for a model that reads it a weight for each item,
    uniform over the model's range.
    """
    if (known := model.guidance_input) is None:
        return cond
    low, high = known
    weights: Tensor = low + (high - low) * random.uniform((count,), "cpu").double()
    return {**cond, GUIDANCE: weights}


def check_weights(model: Denoiser, teacher: Denoiser) -> None:
    """Raises Refused unless both take a guidance weight, or neither, and the teacher all that the model is for."""
    mine, its = model.guidance_input, teacher.guidance_input
    if mine is None and its is not None:
        raise Refused(
            "the teacher takes a guidance weight as an input, and the student none: set denoiser.guidance_input, as "
            "[1, 4], or take the teacher with one weight, name = 'classifier_free'"
        )
    if mine is not None and its is None:
        raise Refused(
            "the student takes a guidance weight as an input, and the teacher none: set objective.teacher.name = "
            "'classifier_free_input' and objective.teacher.denoiser, or leave denoiser.guidance_input out"
        )
    if mine is not None and its is not None and not its[0] <= mine[0] <= mine[1] <= its[1]:
        raise Refused(
            f"the student takes guidance weights from {mine[0]:g} to {mine[1]:g}, and the teacher knows those from "
            f"{its[0]:g} to {its[1]:g}: set denoiser.guidance_input to a range inside"
        )
