"""What a run shows of itself while it is trained: how it does on data it never saw, and what it makes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from undiffuse import pictures
from undiffuse.conditions import declared
from undiffuse.data.dataset import Dataset
from undiffuse.models.diffusion import Model
from undiffuse.storage.files import write_bytes
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


def preview(folder: Path, count: int, learned: Dataset, model: Model, step: int) -> None:
    """What the averaged weights make of the same noise every time, one class a row."""
    points = learned.kind == "points"
    some = learned.some(CLOUD if points else count)
    count = CLOUD if points else count
    drawn = model.sample(
        count, label=_labels(model, count), **declared.examples(model.conditions, some.conditions, count)
    )
    beside = np.asarray(some.x) if points else None
    if drawn.kind == "texts":
        picture = pictures.page(drawn.texts[:TEXTS])
    else:
        picture = pictures.overview(
            drawn.numpy(),
            beside=beside,
            names=learned.columns,
            categories=learned.categories,
            labels=None if drawn.labels is None else drawn.labels.numpy(),
            classes=drawn.classes,
            captions=drawn.captions,
        )
    write_bytes(folder / "previews" / f"step_{step:06d}.png", pictures.png(picture))


def _labels(model: Model, count: int) -> list[str] | None:
    return [model.classes[i % len(model.classes)] for i in range(count)] if "label" in model.conditions else None
