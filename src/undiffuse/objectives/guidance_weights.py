"""The guidance weights that a student takes as an input: drawn in training, and given to its teacher as well."""

from dataclasses import replace

from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import GUIDANCE, within
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.guidance.fixed_conditions import FixedConditions


def with_weights(model: Denoiser, batch: Batch, random: Random) -> Batch:
    """The batch, for a model that takes a guidance weight with one for each item among its conditions, uniform over the
    model's range: its teacher is asked alike.
    """
    if (known := model.guidance_input) is None:
        return batch
    low, high = known
    weights: Tensor = low + (high - low) * random.uniform((len(batch),), "cpu").double()
    return replace(batch, cond={**batch.cond, GUIDANCE: weights})


def at_usual_weight(model: Denoiser, teacher: Denoiser) -> Denoiser:
    """The teacher with the weight that the model takes when nobody says one."""
    known = model.guidance_input
    return teacher if known is None else FixedConditions(teacher, **{GUIDANCE: within(known, None)})


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
