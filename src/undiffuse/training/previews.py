"""Validation during training: the loss on held-out data."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from undiffuse.core.objective import Objective
from undiffuse.objectives.timed import Timed
from undiffuse.training.batches import Batches
from undiffuse.training.validation import Validation


def validate(
    objective: Objective,
    unseen: Batches,
    distance: Callable[[nn.Module], Mapping[str, float]],
    averaged: nn.Module,
    trained: nn.Module,
) -> dict[str, Any]:
    """Loss on held-out data, of the averaged and the trained weights, where on the way to data it lies, what else the
    objective knows to measure, and how far the samples are from those of its reference, see `ReferenceDistance`.
    """
    device = next(averaged.parameters()).device
    validation = Validation(objective, unseen.to(device))
    loss = validation(averaged)
    return {
        "validation_loss": loss,
        "validation_loss_raw": loss if trained is averaged else validation(trained.eval()),
        **({"levels": validation.levels(averaged, cast("Timed", objective))} if objective.timed else {}),
        **{
            f"validation_{name}": Validation(other, unseen.to(device))(averaged)
            for name, other in objective.beside.items()
        },
        **distance(averaged),
    }
