"""What a run shows of itself while it is trained: how it does on data it never saw, and what it makes."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from undiffuse.training.batches import Batches
from undiffuse.training.validation import Validation

CLOUD = 2000  # points in a preview of points
TEXTS = 20  # in a preview of texts


def validate(objective: Any, unseen: Batches, averaged: nn.Module, trained: nn.Module) -> dict[str, Any]:
    """Loss on held-out data, of the averaged and the trained weights, where on the way to data it lies, and what else
    the objective knows to measure.
    """
    device = next(averaged.parameters()).device
    validation = Validation(objective, unseen.to(device))
    others: Mapping[str, Any] = getattr(objective, "beside", {})
    loss = validation(averaged)
    return {
        "validation_loss": loss,
        "validation_loss_raw": loss if trained is averaged else validation(trained.eval()),
        "levels": validation.levels(averaged, objective),
        **{f"validation_{name}": Validation(other, unseen.to(device))(averaged) for name, other in others.items()},
    }
