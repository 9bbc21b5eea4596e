"""Points over time: from noise to samples, side by side or animated."""

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from undiffuse.pictures.clouds import bins, extents_of, scatter
from undiffuse.pictures.images import Array, telling
from undiffuse.pictures.plots import DATA, DRAWN, canvas, dot, quiet, render
from undiffuse.pictures.sheets import steps

SPREAD = 0.3  # to how much a category's points are spread, so that they do not hide each other


def points_strip(
    frames: Array,
    names: Sequence[str] = (),
    categories: Sequence[Sequence[str]] = (),
    columns: int = 6,
    paths: int = 20,
) -> Image.Image:
    """Points over time, left to right, frames: (steps, n, features); the last panel: the ways of `paths` points.

    A single number is a histogram. Of more than two numbers the two are shown that depend most on each other in the
    end; a point keeps the colour of its last height, so that what is noise is seen to have no order yet.
    """
    chosen = telling(frames, columns)
    if frames.shape[-1] == 1:
        return _bars(frames[chosen, :, 0], steps(chosen), names, (frames[0, :, 0], frames[-1, :, 0]))
    which = plane(frames[-1], categories)
    seen = _spread(frames[:, :, list(which)], [i < len(categories) and bool(categories[i]) for i in which])
    across, up = extents_of(seen[0], seen[-1])
    rank = seen[-1][:, 1].argsort().argsort()
    panels = len(chosen) + bool(paths)
    figure = canvas(2.2 * panels, 2.4)
    for column in range(panels):
        axes = figure.add_subplot(1, panels, column + 1)
        axes.set(xlim=across, ylim=up, aspect="equal" if across == up else "auto", xticks=[], yticks=[])
        quiet(axes, 7)
        axes.set_title([*steps(chosen), "their ways"][column], fontsize=8)
        if which[0] < len(names):
            axes.set_xlabel(names[which[0]], fontsize=8)
        if column == 0 and which[1] < len(names):
            axes.set_ylabel(names[which[1]], fontsize=8)
        if column < len(chosen):
            cloud = seen[chosen[column]]
            axes.scatter(*cloud.T, s=dot(len(cloud)) / 2, c=rank, cmap="plasma", linewidths=0, alpha=0.8)
            continue
        axes.plot(seen[:, :paths, 0], seen[:, :paths, 1], c=DATA, lw=0.5, alpha=0.6)
        axes.scatter(*seen[-1, :paths].T, s=3, c=DRAWN, linewidths=0, zorder=3)
    return render(figure)


def points_frames(
    frames: Array, names: Sequence[str] = (), categories: Sequence[Sequence[str]] = ()
) -> Iterator[Image.Image]:
    """One picture a step, all on the same axes; frames: (steps, n, features)."""
    if frames.shape[-1] == 1:
        return (_bars(frame[None, :, 0], [""], names, (frames[0, :, 0], frames[-1, :, 0])) for frame in frames)
    which = list(plane(frames[-1], categories))
    seen = _spread(frames[:, :, which], [i < len(categories) and bool(categories[i]) for i in which])
    called = [names[i] for i in which] if len(names) > max(which) else []
    return (scatter(cloud, like=(seen[0], seen[-1]), names=called) for cloud in seen)


def plane(points: Array, categories: Sequence[Sequence[str]] = ()) -> tuple[int, int]:
    """The two columns that are shown: of two the two, of more the numbers that depend most on each other by rank, and
    where there are not two columns of numbers the first others beside them.
    """
    words = [i for i in range(points.shape[1]) if i < len(categories) and categories[i]]
    numbers = [i for i in range(points.shape[1]) if i not in words]
    if points.shape[1] == 2 or len(numbers) < 2:
        first, second, *_ = (*words[: 2 - len(numbers)], *numbers) if points.shape[1] > 2 else (0, 1)
        return first, second
    ranks = np.stack([_ranks(points[:, i]) for i in numbers])
    length = np.linalg.norm(ranks, axis=1, keepdims=True)
    ranks = ranks / np.maximum(length, 1e-12)
    strength = np.triu(np.abs(ranks @ ranks.T), 1)
    first, second = np.unravel_index(int(strength.argmax()), strength.shape)
    return (numbers[int(first)], numbers[int(second)]) if strength.max() > 0 else (numbers[0], numbers[1])


def _ranks(column: Array) -> Array:
    """Ranks with mean 0; equal numbers share one."""
    _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    ranks = (ends - (counts - 1) / 2)[place]
    return ranks - ranks.mean()


def _spread(frames: Array, words: Sequence[bool]) -> Array:
    """The two columns (steps, n, 2), categories a little apart."""
    apart = np.random.default_rng(0).uniform(-SPREAD, SPREAD, frames.shape[1:])
    return frames + apart * np.array(words)


def _bars(parts: Array, heads: Sequence[str], names: Sequence[str], like: Sequence[Array]) -> Image.Image:
    """Single numbers (panels, n) side by side, on the bins of `like`."""
    edges = bins(like, 0)
    highest = max(float(np.histogram(part, edges, density=True)[0].max()) for part in like)
    figure = canvas(2.2 * max(2, len(parts)), 2.4)
    for i, (part, head) in enumerate(zip(parts, heads, strict=True)):
        axes = figure.add_subplot(1, len(parts), i + 1)
        axes.hist(part, edges, density=True, color=DRAWN, alpha=0.7)
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.06 * highest), yticks=[])
        quiet(axes, 7)
        axes.set_title(head, fontsize=8)
        if names:
            axes.set_xlabel(names[0], fontsize=8)
    return render(figure)
