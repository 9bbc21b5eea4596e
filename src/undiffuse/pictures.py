"""Arrays of any shape to pictures: grids, strips, animations, scatter plots and histograms."""

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from undiffuse.model.files import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray
Span = tuple[float, float]

SIDE = 64  # a picture smaller than this is enlarged by a whole factor, so that 8 x 8 digits can be seen
DATA, DRAWN = "#94a3b8", "#e4572e"  # colours of real and of drawn points, readable on white
LINES = (DRAWN, "#2563eb", "#16a34a", "#9333ea", "#ca8a04", "#0891b2")  # of a sequence's channels, in turn
PLOT = (64, 128)  # height and width of a drawn sequence
PANELS = 16  # histograms in a picture


def overview(
    x: Array, beside: Array | None = None, columns: int | None = None, names: Sequence[str] = ()
) -> Image.Image:
    """Items of any kind at a glance; `beside`: real ones, drawn next to them or under them.

    x: (n, features) as a scatter plot, or histograms of each column (called `names`) where there are not two;
    (n, channels, length) as lines; (n, channels, height, width) as a grid, `columns` in a row; of (n, channels, depth,
    height, width) the middle slice.
    """
    if x.ndim == 2:
        return scatter(x, beside) if x.shape[1] == 2 else histograms(x, beside, names)
    if beside is None:
        return grid(as_images(x), columns)
    span = span_of(np.concatenate([x.reshape(-1), beside.reshape(-1)])) if x.dtype.kind == "f" else None
    real, drawn = (grid(as_images(part, span), columns) for part in (beside, x))
    gap = max(8, drawn.width // 32)
    sheet = Image.new(drawn.mode, (real.width + gap + drawn.width, max(real.height, drawn.height)), "white")
    sheet.paste(real, (0, 0))
    sheet.paste(drawn, (real.width + gap, 0))
    return sheet


def as_images(x: Array, span: Span | None = None) -> Array:
    """Items (n, channels, ...) as uint8 pictures (n, channels, height, width): lines, pixels, or a volume's middle.

    span: the floats at the two ends; None: what `span_of` says of all items.
    """
    if x.ndim == 3:
        low, high = span or (float(x.min()), float(x.max()))
        return np.stack([_lines((item - low) / ((high - low) or 1.0)) for item in x.astype(np.float64)])
    return to_uint8(x[:, :, x.shape[2] // 2] if x.ndim == 5 else x, span)


def to_uint8(images: Array, span: Span | None = None) -> Array:
    """Whatever numbers a picture is made of, as 0 ... 255.

    images: (..., channels, height, width) of any dtype; integers use their dtype's whole range.
    span: the floats that mean black and white; None: [0, 1], or the images' own extent where they leave it.
    """
    if images.dtype == np.uint8:
        return images
    if np.issubdtype(images.dtype, np.integer):
        low, high = 0.0, float(np.iinfo(images.dtype).max)
    else:
        low, high = span or span_of(images)
    return (np.clip((images.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1) * 255).round().astype(np.uint8)


def span_of(images: Array) -> Span:
    """The values shown as black and white: [0, 1] if the floats stay inside, else their own extent."""
    low, high = float(images.min(initial=0.0)), float(images.max(initial=1.0))
    return (0.0, 1.0) if low >= -1e-6 and high <= 1 + 1e-6 else (low, high)


def picture(image: Array) -> Image.Image:
    """One picture of uint8 (channels, height, width): grey, RGB, RGBA; else its first one or three channels."""
    channels = image.shape[0]
    if channels not in (1, 3, 4):
        image = image[: 3 if channels > 4 else 1]
    return Image.fromarray(image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def grid(images: Array, columns: int | None = None, scale: int | None = None, gap: int | None = None) -> Image.Image:
    """Many pictures as one, row by row.

    images: (n, channels, height, width) uint8. columns: pictures in a row; None: about as many as rows.
    scale: whole factor of enlargement; None: at least 64 pixels a side. gap: pixels of background between pictures.
    """
    n, channels, height, width = images.shape
    across = min(n, columns or math.ceil(math.sqrt(n)))
    scale = scale or max(1, SIDE // max(height, width))
    between = max(1, scale * max(height, width) // 32) if gap is None else gap
    rows = -(-n // across)
    tall, wide = height * scale, width * scale
    sheet = np.full((channels, rows * (tall + between) + between, across * (wide + between) + between), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = between + (i // across) * (tall + between), between + (i % across) * (wide + between)
        sheet[:, top : top + tall, left : left + wide] = image.repeat(scale, 1).repeat(scale, 2)
    return picture(sheet)


def strip(frames: Array, columns: int = 10, scale: int | None = None) -> Image.Image:
    """Pictures over time, left to right: one row a sample; the last column is the last frame.

    frames: (steps, n, channels, height, width) uint8; `columns` of them are shown, more of them where more changes.
    """
    chosen = frames[telling(frames, columns)]
    return grid(chosen.swapaxes(0, 1).reshape(-1, *frames.shape[2:]), columns=len(chosen), scale=scale)


def telling(frames: Array, at_most: int) -> list[int]:
    """Up to `at_most` frames, the first and the last among them, with about equal change from one to the next."""
    if len(frames) <= at_most:
        return list(range(len(frames)))
    change = np.abs(np.diff(frames.astype(np.float64), axis=0)).reshape(len(frames) - 1, -1).mean(1)
    way = np.concatenate([[0.0], np.cumsum(change + 1e-9)])
    chosen = [0]
    for mark in range(1, at_most):  # each mark takes the nearest frame that leaves enough for the marks after it
        free = range(chosen[-1] + 1, len(frames) - (at_most - 1 - mark))
        chosen.append(min(free, key=lambda i: abs(way[i] - way[-1] * mark / (at_most - 1))))
    return [*chosen[:-1], len(frames) - 1]


def gif(frames: Sequence[Image.Image], seconds: float = 3.0, hold: float = 1.5) -> bytes:
    """An endless animation that takes `seconds` and then rests on the last frame; returns the file's bytes."""
    each = max(20, round(seconds * 1000 / len(frames)))
    file = io.BytesIO()
    first, *rest = [frame.convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    durations = [each] * len(rest) + [each + round(hold * 1000)]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    return file.getvalue()


def scatter(
    points: Array, beside: Array | None = None, extent: Span | None = None, titles: Sequence[str] = ("data", "samples")
) -> Image.Image:
    """Points (n, 2 or more) in the plane of their first two numbers; `beside`: real ones, on the same axes."""
    panels = [points] if beside is None else [beside, points]
    low, high = extent or extent_of(*panels)
    figure = _figure(4.2 * len(panels), 4.2)
    for i, cloud in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        axes.scatter(
            cloud[:, 0], cloud[:, 1], s=_dot(len(cloud)), c=DATA if cloud is beside else DRAWN, linewidths=0, alpha=0.7
        )
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        _quiet(axes, 7)
        if beside is not None:
            axes.set_title(titles[i], fontsize=10)
    return _render(figure)


def histograms(points: Array, beside: Array | None = None, names: Sequence[str] = ()) -> Image.Image:
    """How the numbers of each column spread, (n, features); the first 16 columns, `beside` filled in grey."""
    shown = min(points.shape[1], PANELS)
    across = min(shown, 4)
    down = -(-shown // across)
    figure = _figure(2.4 * across, 1.9 * down)
    for i in range(shown):
        axes = figure.add_subplot(down, across, i + 1)
        parts = [points[:, i]] if beside is None else [points[:, i], beside[:, i]]
        low, high = min(float(np.quantile(p, 0.001)) for p in parts), max(float(np.quantile(p, 0.999)) for p in parts)
        bins = np.linspace(low, high if high > low else low + 1, 41).tolist()
        if beside is not None:
            axes.hist(beside[:, i], bins, density=True, color=DATA, alpha=0.6)
        axes.hist(points[:, i], bins, density=True, histtype="step", color=DRAWN)
        axes.set_title(names[i] if i < len(names) else f"column {i}", fontsize=8)
        axes.set_yticks([])
        _quiet(axes, 6)
    return _render(figure)


def cloud_strip(frames: Array, extent: Span, columns: int = 6, paths: int = 0) -> Image.Image:
    """Points over time, left to right; frames: (steps, n, 2 or more). The last panel: the ways of `paths` points."""
    chosen = telling(frames, columns)
    panels = len(chosen) + bool(paths)
    figure = _figure(2.2 * panels, 2.2)
    for column in range(panels):
        axes = figure.add_subplot(1, panels, column + 1)
        axes.set(xlim=extent, ylim=extent, aspect="equal", xticks=[], yticks=[])
        _quiet(axes, 7)
        if column < len(chosen):
            cloud = frames[chosen[column]]
            axes.scatter(cloud[:, 0], cloud[:, 1], s=_dot(len(cloud)) / 3, c=DRAWN, linewidths=0, alpha=0.7)
            continue
        axes.plot(frames[:, :paths, 0], frames[:, :paths, 1], c=DATA, lw=0.5, alpha=0.6)
        axes.scatter(frames[-1, :paths, 0], frames[-1, :paths, 1], s=3, c=DRAWN, linewidths=0, zorder=3)
    return _render(figure)


def cloud_frames(frames: Array, extent: Span) -> Iterator[Image.Image]:
    """One scatter picture a step; frames: (steps, n, 2 or more)."""
    return (scatter(cloud, extent=extent) for cloud in frames)


def extent_of(*clouds: Array) -> Span:
    """One interval for both axes that holds the middle 99.8 % of every cloud's coordinates, with a margin."""
    low = min(float(np.quantile(cloud[:, :2], 0.001)) for cloud in clouds)
    high = max(float(np.quantile(cloud[:, :2], 0.999)) for cloud in clouds)
    margin = 0.12 * (high - low) or 1.0
    return low - margin, high + margin


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file's bytes."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; raises Refused if it cannot be written."""
    with whole(path) as temporary:
        temporary.write_bytes(content)


def _lines(channels: Array) -> Array:
    """A sequence (channels, length) of numbers from 0 to 1 as a picture of its lines, (3, height, width) uint8."""
    fine = 3  # drawn larger and made smaller, which smooths the lines
    height, width = PLOT[0] * fine, PLOT[1] * fine
    image = Image.new("RGB", (width, height), "#f1f5f9")
    draw = ImageDraw.Draw(image)
    across = np.linspace(0, width - 1, channels.shape[1])
    for i, line in reversed(list(enumerate(channels))):
        up = (1 - 0.06 - 0.88 * np.clip(line, 0, 1)) * (height - 1)
        points = list(zip(across.tolist(), up.tolist(), strict=True)) * (2 if len(across) == 1 else 1)
        draw.line(points, fill=LINES[i % len(LINES)], width=4)
    return np.asarray(image.resize((PLOT[1], PLOT[0]), Image.Resampling.BOX)).transpose(2, 0, 1)


def _dot(count: int) -> float:
    return float(np.clip(6000 / max(count, 1), 1.5, 16))


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # 0.1 s to import, needed for plots only

    return Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")


def _quiet(axes: "Axes", size: int) -> None:
    """Grey frames and small numbers, so that the points are what is seen."""
    axes.tick_params(labelsize=size, colors="#64748b")
    for side in axes.spines.values():
        side.set_color("#cbd5e1")


def _render(figure: "Figure") -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")
