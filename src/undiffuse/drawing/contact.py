"""A contact sheet: what the data look like, on one page."""

import numpy as np
from PIL import Image, ImageDraw

from undiffuse.data.dataset import Dataset
from undiffuse.pictures import SIDE, as_images, grid, overview, page

ROWS, ACROSS = 20, 10  # classes shown, items of each
PLAIN = 100  # items of data without classes
POINTS, TEXTS = 5000, 20


def contact(data: Dataset) -> Image.Image:
    """The first items of each class, one class a row under its name; points as a scatter plot or histograms, texts as
    they read.
    """
    if texts := data.texts(TEXTS):
        return page(texts)
    if data.kind in ("points", "tokens"):
        return overview(np.asarray(data.some(POINTS).x), names=data.columns, categories=data.categories)
    if data.labels is None or len(data.classes) < 2:
        count = min(PLAIN, len(data))
        step = len(data) / count  # spread over the whole set
        chosen = np.array([int(i * step) for i in range(count)])
        return _sheet(data, [chosen], [""], across=int(np.ceil(np.sqrt(count))))
    shown = [c for c in range(len(data.classes)) if (data.labels == c).any()][:ROWS]
    rows = [np.flatnonzero(data.labels == c)[:ACROSS] for c in shown]
    return _sheet(data, rows, [data.classes[c] for c in shown], across=ACROSS)


def _sheet(data: Dataset, rows: list[np.ndarray], names: list[str], across: int) -> Image.Image:
    """Rows of items with their names above them."""
    items = [np.asarray(data.take(row).x) for row in rows]
    everything = np.concatenate(items)
    span = None if everything.dtype == np.uint8 else (float(everything.min()), float(everything.max()))
    bands = [_smaller(grid(as_images(part, span), min(across, len(part)), scale=_scale(part))) for part in items]
    head = 14 if any(names) else 0
    width, height = max(band.width for band in bands), sum(band.height + head for band in bands)
    sheet = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for band, name in zip(bands, names, strict=True):
        if head:
            draw.text((4, top + 1), name[:40], fill="#334155")
        sheet.paste(band.convert("RGB"), (0, top + head))
        top += head + band.height
    return sheet


def _scale(part: np.ndarray) -> int:
    return max(1, SIDE // max(part.shape[-2:])) if part.ndim > 3 else 1


def _smaller(band: Image.Image, widest: int = 1600) -> Image.Image:
    """The picture, not wider than a screen."""
    if band.width <= widest:
        return band
    return band.resize((widest, max(1, band.height * widest // band.width)), Image.Resampling.BOX)
