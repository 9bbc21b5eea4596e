"""Arrays of any shape to pixels, and pixels to pictures and animations."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from undiffuse.pictures.tokens import are_tokens, squares

Array = np.ndarray
Span = tuple[float, float]

LINES = ("#e4572e", "#2563eb", "#16a34a", "#9333ea", "#ca8a04", "#0891b2")  # of a sequence's channels, in turn
PLOT = (80, 160)  # height and width of a drawn sequence
ABREAST, FINE, GAP = (
    8,
    32,
    2,
)  # frames of a video beside each other, pixels that each is high at least, and between them


def as_images(x: Array, span: Span | None = None) -> Array:
    """Items (n, channels, ...) as uint8 pictures (n, channels, height, width): lines, pixels, or a volume's slices and
    a video's frames side by side.

    Tokens (n, length) become rows of squares. span: the floats at the two ends; None: what `span_of` says of all items.
    """
    if are_tokens(x):
        return squares(x)
    if x.ndim == 3:
        low, high = span or (float(x.min()), float(x.max()))
        return np.stack([_lines((item - low) / ((high - low) or 1.0)) for item in x.astype(np.float64)])
    return side_by_side(to_uint8(x, span)) if x.ndim == 5 else to_uint8(x, span)


def side_by_side(x: Array) -> Array:
    """Videos or volumes (n, channels, depth, height, width) uint8 as pictures (n, channels, height, width): up to
    ABREAST frames or slices, the first and the last among them, each FINE pixels high at least, with white between.
    """
    n, channels, depth, height, width = x.shape
    chosen = np.linspace(0, depth - 1, min(depth, ABREAST)).round().astype(int)
    times = max(1, -(-FINE // height))
    high, wide = height * times, width * times
    found = np.full((n, channels, high, len(chosen) * (wide + GAP) - GAP), 255, np.uint8)
    for i, place in enumerate(chosen):
        found[..., i * (wide + GAP) : i * (wide + GAP) + wide] = x[:, :, place].repeat(times, 2).repeat(times, 3)
    return found


def to_uint8(images: Array, span: Span | None = None) -> Array:
    """Whatever numbers a picture is made of, as 0 ... 255.

    images: (..., channels, height, width) of any dtype; 8 bit stay as they are.
    span: the numbers that mean black and white; None: what `span_of` says.
    """
    if images.dtype == np.uint8:
        return images
    low, high = span or span_of(images)
    return (np.clip((images.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1) * 255).round().astype(np.uint8)


def span_of(images: Array) -> Span:
    """The values shown as black and white: of integers the least and the greatest; of floats [0, 1] if they stay
    inside, else their own extent.
    """
    if np.issubdtype(images.dtype, np.integer):
        return (0.0, 255.0) if images.dtype == np.uint8 else (float(images.min()), float(images.max()))
    low, high = float(images.min(initial=0.0)), float(images.max(initial=1.0))
    return (0.0, 1.0) if low >= -1e-6 and high <= 1 + 1e-6 else (low, high)


def picture(image: Array) -> Image.Image:
    """One picture of uint8 (channels, height, width): grey, RGB, RGBA; else its first one or three channels."""
    channels = image.shape[0]
    if channels not in (1, 3, 4):
        image = image[: 3 if channels > 4 else 1]
    return Image.fromarray(image[0] if image.shape[0] == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))


def telling(frames: Array, at_most: int) -> list[int]:
    """Up to `at_most` frames, the first and the last among them, with about equal change from one to the next."""
    if len(frames) <= at_most:
        return list(range(len(frames)))
    change = np.abs(np.diff(frames.astype(np.float64), axis=0)).reshape(len(frames) - 1, -1).mean(1)
    length = np.concatenate([[0.0], np.cumsum(change + 1e-9)])
    chosen = [0]
    for mark in range(1, at_most):  # each mark takes the nearest frame that leaves enough for the marks after it
        free = range(chosen[-1] + 1, len(frames) - (at_most - 1 - mark))
        chosen.append(min(free, key=lambda i: abs(length[i] - length[-1] * mark / (at_most - 1))))
    return [*chosen[:-1], len(frames) - 1]


def gif(frames: Sequence[Image.Image], seconds: float = 3.0, hold: float = 1.5) -> bytes:
    """An endless animation that takes `seconds` and then rests on the last frame; returns the file's bytes."""
    each = max(20, round(seconds * 1000 / len(frames)))
    file = io.BytesIO()
    first, *rest = [frame.convert("P", palette=Image.Palette.ADAPTIVE) for frame in frames]
    durations = [each] * len(rest) + [each + round(hold * 1000)]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    return file.getvalue()


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
