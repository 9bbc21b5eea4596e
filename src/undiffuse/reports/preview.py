"""What a run that draws samples shows of itself while it is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from undiffuse import pictures
from undiffuse.conditions.from_data import examples
from undiffuse.sampling.file_content import sheet
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import labels_in_turn

TEXTS = 20  # in a preview of texts


def preview(model: Generator, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
    """As PNG what the model makes of the same noise every time, one class a row; points beside as many of x."""
    points = x.ndim == 2 and not model.codec.tokens
    request = SampleRequest(n=count, conditions=examples(model.conditions, conditions, count))
    drawn = model.open(labels_in_turn(model, request)).draw()
    if drawn.kind == "texts":
        return pictures.png(pictures.page(drawn.texts[:TEXTS]))
    if not points:
        return pictures.png(sheet(drawn))
    picture = pictures.overview(
        drawn.numpy(),
        beside=x if points else None,
        names=drawn.columns,
        categories=drawn.categories,
        labels=None if drawn.labels is None else drawn.labels.numpy(),
        classes=drawn.classes,
        captions=drawn.captions,
    )
    return pictures.png(picture)
