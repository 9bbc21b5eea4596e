"""Points to pictures: scatter plots, and histograms of each column."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from undiffuse.pictures.images import Array, Span
from undiffuse.pictures.plots import DATA, DRAWN, canvas, dot, quiet, render

TITLES = ("data", "samples")
PANELS = 16  # histograms in a picture
FEWEST, MOST = 5, 60  # bins of numbers
BARS, LETTERS, LONGEST = 24, 22, 12  # categories with names, letters in a row under a panel, letters of a name
ALIKE = 4.0  # by how much the spans of two columns differ that are drawn on one scale


def scatter(
    points: Array,
    beside: Array | None = None,
    like: Sequence[Array] = (),
    names: Sequence[str] = (),
    titles: Sequence[str] = TITLES,
) -> Image.Image:
    """Points (n, 2 or more) in the plane of their first two numbers; `beside`: real ones, on the same axes.

    like: other points that the axes hold too. names: of the columns.
    """
    panels = [points] if beside is None else [beside, points]
    extents = extents_of(*panels, *like)
    figure = canvas(4.2 * len(panels), 4.2)
    for i, cloud in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        axes.scatter(
            cloud[:, 0], cloud[:, 1], s=dot(len(cloud)), c=DATA if cloud is beside else DRAWN, linewidths=0, alpha=0.7
        )
        axes.set(xlim=extents[0], ylim=extents[1], aspect="equal" if extents[0] == extents[1] else "auto")
        quiet(axes, 7)
        if len(names) > 1:
            axes.set_xlabel(names[0], fontsize=8)
            axes.set_ylabel(names[1], fontsize=8)
        if beside is not None:
            axes.set_title(titles[i], fontsize=10)
    return render(figure)


def histograms(
    points: Array,
    beside: Array | None = None,
    names: Sequence[str] = (),
    categories: Sequence[Sequence[str]] = (),
    like: Sequence[Array] = (),
    titles: Sequence[str] = TITLES,
) -> Image.Image:
    """How the numbers of each column spread, (n, features); the first 16 columns, `beside` filled in grey.

    categories: of each column the names of its categories, () of numbers. like: other points that the axes hold too.
    """
    shown = min(points.shape[1], PANELS)
    across = min(shown, 4)
    down = -(-shown // across)
    figure = canvas(2.4 * across, 1.9 * down)
    for i in range(shown):
        axes = figure.add_subplot(down, across, i + 1)
        parts = [part[np.isfinite(part[:, i]), i] for part in (points, *like, *([] if beside is None else [beside]))]
        words = categories[i] if i < len(categories) else ()
        edges = bins(parts, len(words))
        if beside is not None and len(parts[-1]):
            axes.hist(parts[-1], edges, density=True, color=DATA, alpha=0.6, label=titles[0])
        if len(parts[0]):
            axes.hist(parts[0], edges, density=True, histtype="step", color=DRAWN, label=titles[1])
        heights = [float(np.histogram(part, edges, density=True)[0].max()) for part in parts if len(part)]
        margin = 0.03 * (edges[-1] - edges[0])
        axes.set(xlim=(edges[0] - margin, edges[-1] + margin), ylim=(0, 1.06 * max(heights, default=1.0)), yticks=[])
        axes.set_title(names[i] if i < len(names) else f"column {i}", fontsize=8)
        quiet(axes, 6)
        if 0 < len(words) <= BARS:
            tilt = 90 if sum(map(len, words)) > LETTERS else 0
            axes.set_xticks(range(len(words)), [word[:LONGEST] for word in words], rotation=tilt)
    if beside is not None:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    return render(figure)


def bins(parts: Sequence[Array], words: int) -> list[float]:
    """The edges: one bin a category; of numbers 2 cbrt(n) by the count of the fewest (Rice's rule), of whole numbers
    each as many of them as make no more bins than that.
    """
    if words:
        return (np.arange(words + 1) - 0.5).tolist()
    parts = [part for part in parts if len(part)]
    if not parts:
        return [0.0, 1.0]
    whole = all((p == np.round(p)).all() for p in parts)
    tail = 0.001 if whole else 0.005
    low = min(float(np.quantile(p, tail, method="lower")) for p in parts)  # a number that is there: of a few, the least
    high = max(float(np.quantile(p, 1 - tail, method="higher")) for p in parts)
    many = int(np.clip(np.ceil(2 * np.cbrt(min(map(len, parts)))), FEWEST, MOST))
    if whole and high - low < 2**31:
        low, high = np.floor(low), np.ceil(high)
        step = max(1, int((high - low + 1) // many))
        count = int(-(-(high - low + 1) // step))
        return (low - 0.5 + step * np.arange(count + 1)).tolist()
    return np.linspace(low, high if high > low else low + 1, many + 1).tolist()


def extents_of(*clouds: Array) -> tuple[Span, Span]:
    """An interval for each of two axes that holds the middle 99.8 % of every cloud, with a margin: one for both where
    the columns have about one scale.
    """
    each = [extent_of(*(cloud[:, [i, i]] for cloud in clouds)) for i in (0, 1)]
    lengths = [high - low for low, high in each]
    both = extent_of(*clouds)
    alike = both[1] - both[0] <= ALIKE * min(lengths)
    return (both, both) if alike else (each[0], each[1])


def extent_of(*clouds: Array) -> Span:
    """One interval for both axes that holds the middle 99.8 % of every cloud's coordinates, with a margin."""
    low = min(float(np.nanquantile(cloud[:, :2], 0.001)) for cloud in clouds)
    high = max(float(np.nanquantile(cloud[:, :2], 0.999)) for cloud in clouds)
    margin = 0.12 * (high - low) or 1.0
    return low - margin, high + margin
