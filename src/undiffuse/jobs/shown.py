"""What a run shows of itself while it is trained: how it does on data it never saw, and what it makes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from undiffuse import pictures
from undiffuse.data.dataset import Dataset
from undiffuse.drawing.draw import reader
from undiffuse.judging import training_page
from undiffuse.model import told
from undiffuse.model.files import write_bytes
from undiffuse.model.label_model import LabelModel
from undiffuse.model.model import Model
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
    return {
        "validation_loss": validation(averaged),
        "validation_loss_raw": validation(trained.eval()),
        "levels": validation.levels(averaged, objective),
        **{f"validation_{name}": Validation(other, unseen.to(device))(averaged) for name, other in others.items()},
    }


def preview(folder: Path, count: int, learned: Dataset, model: Model, step: int) -> None:
    """What the averaged weights make of the same noise every time, one class a row, and the page on the training."""
    points = learned.kind == "points"
    some = learned.some(CLOUD if points else count)
    count = CLOUD if points else count
    drawn = model.sample(count, label=_labels(model, count), **told.examples(model.conditions, some.conditions, count))
    beside = np.asarray(some.x) if points else None
    if read := reader(model.codec):
        picture = pictures.page(list(map(read, drawn[:TEXTS].numpy())))
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
    training_page.write(folder)


def page(folder: Path, count: int, learned: Dataset, model: LabelModel, step: int) -> None:
    """What a classifier, which draws nothing, shows of itself: the page on the training."""
    training_page.write(folder)


def _labels(model: Model, count: int) -> list[int] | None:
    return [i % len(model.classes) for i in range(count)] if "label" in model.conditions else None
