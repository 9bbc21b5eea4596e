"""A contact sheet: what the data look like, on one page."""

import numpy as np
from PIL import Image

from undiffuse.data.dataset import Dataset
from undiffuse.pictures import overview, page

ROWS, ACROSS = 20, 10  # classes shown, items of each
PLAIN = 100  # items of data without classes
POINTS, TEXTS = 5000, 20


def contact(data: Dataset) -> Image.Image:
    """The first items of each class, one class a row beside its name, or all above their captions; points as a scatter
    plot or histograms, texts as they read.
    """
    if texts := data.texts(TEXTS):
        return page(texts)
    if data.kind in ("points", "tokens"):
        return overview(np.asarray(data.some(POINTS).x), names=data.columns, categories=data.categories)
    if data.labels is None or len(data.classes) < 2:
        count = min(PLAIN, len(data))
        step = len(data) / count  # spread over the whole set
        chosen = np.array([int(i * step) for i in range(count)])
        return _smaller(overview(np.asarray(data.take(chosen).x), captions=_captions(data, chosen)))
    shown = [c for c in range(len(data.classes)) if (data.labels == c).any()][:ROWS]
    chosen = np.concatenate([np.flatnonzero(data.labels == c)[:ACROSS] for c in shown])
    return _smaller(overview(np.asarray(data.take(chosen).x), labels=data.labels[chosen], classes=data.classes))


def _captions(data: Dataset, chosen: np.ndarray) -> list[str]:
    """The texts of these items, where they have some."""
    found = [values for values in data.conditions.values() if np.dtype(values.dtype).kind == "U"]
    return [str(caption) for caption in found[0][chosen]] if found else []


def _smaller(band: Image.Image, widest: int = 1600) -> Image.Image:
    """The picture, not wider than a screen."""
    if band.width <= widest:
        return band
    return band.resize((widest, max(1, band.height * widest // band.width)), Image.Resampling.BOX)
