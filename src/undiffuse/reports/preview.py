"""What a run that draws samples shows of itself while it is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from undiffuse import pictures
from undiffuse.conditions.declared import examples
from undiffuse.sampling.data_frame import columns
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import reader

TEXTS = 20  # in a preview of texts


def preview(model: Generator, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
    """As PNG what the model makes of the same noise every time, one class a row; points beside as many of x."""
    points = x.ndim == 2 and not model.codec.tokens
    drawn = model.sample(count, label=_labels(model, count), **examples(model.conditions, conditions, count))
    if read := reader(model.codec):
        return pictures.png(pictures.page(list(map(read, drawn[:TEXTS].numpy()))))
    picture = pictures.overview(
        drawn.numpy(),
        beside=x if points else None,
        names=columns(model),
        categories=model.codec.categories,
        labels=None if drawn.labels is None else drawn.labels.numpy(),
        classes=drawn.classes,
        captions=drawn.captions,
    )
    return pictures.png(picture)


def _labels(model: Generator, count: int) -> list[str] | None:
    return [model.classes[i % len(model.classes)] for i in range(count)] if "label" in model.conditions else None
