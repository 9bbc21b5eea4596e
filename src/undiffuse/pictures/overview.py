"""Items of any kind on one picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from undiffuse.pictures.clouds import histograms, scatter
from undiffuse.pictures.images import Array, Span, as_images, grid, span_of
from undiffuse.pictures.tokens import are_tokens, rows


def overview(
    x: Array,
    beside: Array | None = None,
    columns: int | None = None,
    names: Sequence[str] = (),
    categories: Sequence[Sequence[str]] = (),
) -> Image.Image:
    """Items of any kind at a glance; `beside`: real ones, drawn next to them or under them.

    x: tokens (n, length) as rows of squares; points (n, features) as a scatter plot, or where there are not two as
    histograms of each column, called `names`, with `categories`; (n, channels, length) as lines; (n, channels, height,
    width) as a grid, `columns` in a row; of (n, channels, depth, height, width) the middle slice.
    """
    if x.ndim == 2 and not are_tokens(x):
        return scatter(x, beside) if x.shape[1] == 2 else histograms(x, beside, names, categories)
    if beside is None:
        return _sheet(x, columns)
    span = None if are_tokens(x) else span_of(np.concatenate([x.reshape(-1), beside.reshape(-1)]))
    real, drawn = (_sheet(part, columns, span) for part in (beside, x))
    gap = max(8, drawn.width // 32)
    sheet = Image.new(drawn.mode, (real.width + gap + drawn.width, max(real.height, drawn.height)), "white")
    sheet.paste(real, (0, 0))
    sheet.paste(drawn, (real.width + gap, 0))
    return sheet


def _sheet(x: Array, columns: int | None, span: Span | None = None) -> Image.Image:
    return rows(x) if are_tokens(x) else grid(as_images(x, span), columns)
