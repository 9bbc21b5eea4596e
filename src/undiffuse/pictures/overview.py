"""Items of any kind on one picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from undiffuse.pictures.clouds import histograms, scatter
from undiffuse.pictures.images import Array, Span, as_images, span_of
from undiffuse.pictures.sheets import sheet
from undiffuse.pictures.tokens import are_tokens, rows


def overview(
    x: Array,
    beside: Array | None = None,
    names: Sequence[str] = (),
    categories: Sequence[Sequence[str]] = (),
    labels: Sequence[int] | Array | None = None,
    classes: Sequence[str] = (),
    captions: Sequence[str] = (),
    like: Sequence[Array] = (),
) -> Image.Image:
    """Items of any kind at a glance; `beside`: real ones, drawn next to them or under them, on the same axes.

    x: tokens (n, length) as rows of squares; points (n, features) as a scatter plot, or where there are not two as
    histograms of each column, called `names`, with `categories`; (n, channels, length) as lines; (n, channels, height,
    width) as a grid; of (n, channels, depth, height, width) slices, or frames, in a row.
    labels, classes, captions: what the items are of, see `sheet`. like: other items that are drawn on the same axes.
    """
    if x.ndim == 2 and not are_tokens(x):
        mixed = any(map(len, categories))
        flat = x.shape[1] == 2 and not mixed
        return scatter(x, beside, like, names) if flat else histograms(x, beside, names, categories, like)
    everything = [x, *like, *([] if beside is None else [beside])]
    span = shared_span(everything)
    drawn = _sheet(x, span, labels, classes, captions)
    if beside is None:
        return drawn
    real = _sheet(beside, span)
    gap = max(8, drawn.width // 32)
    both = Image.new(drawn.mode, (real.width + gap + drawn.width, max(real.height, drawn.height)), "white")
    both.paste(real, (0, 0))
    both.paste(drawn, (real.width + gap, 0))
    return both


def shared_span(parts: Sequence[Array]) -> Span | None:
    """The numbers shown as black and white in all of these items, so that the same grey is the same number; None of
    tokens.
    """
    if are_tokens(parts[0]):
        return None
    ends = np.array([[part.min(), part.max()] for part in parts])
    return span_of(ends) if parts[0].ndim > 3 else (float(ends.min()), float(ends.max()))


def _sheet(
    x: Array,
    span: Span | None = None,
    labels: Sequence[int] | Array | None = None,
    classes: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Image.Image:
    return rows(x) if are_tokens(x) else sheet(as_images(x, span), labels, classes, captions)
