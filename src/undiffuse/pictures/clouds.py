"""Points to pictures: scatter plots, histograms, and clouds over time."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from undiffuse.pictures.images import Array, Span, telling
from undiffuse.pictures.plots import DATA, DRAWN, canvas, dot, quiet, render

PANELS = 16  # histograms in a picture
WHOLE = 80  # whole numbers that have bins of their own
BARS, LETTERS, LONGEST = 24, 22, 12  # categories with names, letters in a row under a panel, letters of a name


def scatter(
    points: Array, beside: Array | None = None, extent: Span | None = None, titles: Sequence[str] = ("data", "samples")
) -> Image.Image:
    """Points (n, 2 or more) in the plane of their first two numbers; `beside`: real ones, on the same axes."""
    panels = [points] if beside is None else [beside, points]
    low, high = extent or extent_of(*panels)
    figure = canvas(4.2 * len(panels), 4.2)
    for i, cloud in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        axes.scatter(
            cloud[:, 0], cloud[:, 1], s=dot(len(cloud)), c=DATA if cloud is beside else DRAWN, linewidths=0, alpha=0.7
        )
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        quiet(axes, 7)
        if beside is not None:
            axes.set_title(titles[i], fontsize=10)
    return render(figure)


def histograms(
    points: Array,
    beside: Array | None = None,
    names: Sequence[str] = (),
    categories: Sequence[Sequence[str]] = (),
) -> Image.Image:
    """How the numbers of each column spread, (n, features); the first 16 columns, `beside` filled in grey.

    categories: of each column the names of its categories, () of numbers. Whole numbers have bins of their own.
    """
    shown = min(points.shape[1], PANELS)
    across = min(shown, 4)
    down = -(-shown // across)
    figure = canvas(2.4 * across, 1.9 * down)
    for i in range(shown):
        axes = figure.add_subplot(down, across, i + 1)
        parts = [points[:, i]] if beside is None else [points[:, i], beside[:, i]]
        words = categories[i] if i < len(categories) else ()
        bins = _bins(parts, len(words))
        if beside is not None:
            axes.hist(beside[:, i], bins, density=True, color=DATA, alpha=0.6)
        axes.hist(points[:, i], bins, density=True, histtype="step", color=DRAWN)
        axes.set_title(names[i] if i < len(names) else f"column {i}", fontsize=8)
        axes.set_yticks([])
        quiet(axes, 6)
        if 0 < len(words) <= BARS:
            tilt = 90 if sum(map(len, words)) > LETTERS else 0
            axes.set_xticks(range(len(words)), [word[:LONGEST] for word in words], rotation=tilt)
    return render(figure)


def _bins(parts: Sequence[Array], words: int) -> list[float]:
    """The edges: one bin a category, one a whole number where there are few, else 40."""
    if words:
        return (np.arange(words + 1) - 0.5).tolist()
    low, high = min(float(np.quantile(p, 0.001)) for p in parts), max(float(np.quantile(p, 0.999)) for p in parts)
    if high - low <= WHOLE and all((p == np.round(p)).all() for p in parts):
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1).tolist()
    return np.linspace(low, high if high > low else low + 1, 41).tolist()


def cloud_strip(frames: Array, extent: Span, columns: int = 6, paths: int = 0) -> Image.Image:
    """Points over time, left to right; frames: (steps, n, 2 or more). The last panel: the ways of `paths` points."""
    chosen = telling(frames, columns)
    panels = len(chosen) + bool(paths)
    figure = canvas(2.2 * panels, 2.2)
    for column in range(panels):
        axes = figure.add_subplot(1, panels, column + 1)
        axes.set(xlim=extent, ylim=extent, aspect="equal", xticks=[], yticks=[])
        quiet(axes, 7)
        if column < len(chosen):
            cloud = frames[chosen[column]]
            axes.scatter(cloud[:, 0], cloud[:, 1], s=dot(len(cloud)) / 3, c=DRAWN, linewidths=0, alpha=0.7)
            continue
        axes.plot(frames[:, :paths, 0], frames[:, :paths, 1], c=DATA, lw=0.5, alpha=0.6)
        axes.scatter(frames[-1, :paths, 0], frames[-1, :paths, 1], s=3, c=DRAWN, linewidths=0, zorder=3)
    return render(figure)


def cloud_frames(frames: Array, extent: Span) -> Iterator[Image.Image]:
    """One scatter picture a step; frames: (steps, n, 2 or more)."""
    return (scatter(cloud, extent=extent) for cloud in frames)


def extent_of(*clouds: Array) -> Span:
    """One interval for both axes that holds the middle 99.8 % of every cloud's coordinates, with a margin."""
    low = min(float(np.quantile(cloud[:, :2], 0.001)) for cloud in clouds)
    high = max(float(np.quantile(cloud[:, :2], 0.999)) for cloud in clouds)
    margin = 0.12 * (high - low) or 1.0
    return low - margin, high + margin
