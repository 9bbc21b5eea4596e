"""Pixels to another size: a centre crop, then cut, stretched or padded, through a named antialiasing filter."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from undiffuse.core.errors import Refused

Fit = Literal["crop", "stretch", "pad"]
Filter = Literal["bicubic", "lanczos", "bilinear", "box", "hamming", "nearest"]
Size = int | tuple[int, int] | None


@dataclass(frozen=True)
class Resize:
    """How images change their size; without a size and a crop they stay as they are.

    size: the side of a square, or (height, width). crop: first cut out the centre square of so many pixels, 0: all.
    fit: "crop" resizes until the wanted shape is just covered and cuts out the centre, "stretch" ignores the shape,
    "pad" resizes until the whole image fits and fills up with zeros. filter: Pillow's, antialiased but for nearest.
    """

    size: Size = None
    fit: Fit = "crop"
    filter: Filter = "bicubic"
    crop: int = 0

    def __post_init__(self) -> None:
        if self.sides is not None and min(self.sides) < 1:
            raise Refused(f"size = {self.size}: the side of an image has at least 1 pixel")
        if self.crop < 0:
            raise Refused(f"crop = {self.crop}: it is the side of a centre square in pixels, or 0 for the whole image")

    @property
    def sides(self) -> tuple[int, int] | None:
        """The height and width asked for."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size and (self.size[0], self.size[1])

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that an image of this height and width comes to; raises Refused for too large a crop."""
        if self.crop > min(height, width):
            raise Refused(f"crop = {self.crop} is more than an image of {width}x{height} has")
        return self.sides or ((self.crop, self.crop) if self.crop else (height, width))

    def describe(self) -> str:
        """`bicubic to 32x32 (width x height), centre crop`"""
        cut = f"centre {self.crop}x{self.crop} cut out" if self.crop else ""
        if self.sides is None:
            return cut
        how = {"crop": "shorter side fitted, centre cut out", "stretch": "stretched", "pad": "padded with zeros"}
        resized = f"{self.filter} to {self.sides[1]}x{self.sides[0]}, {how[self.fit]}"
        return f"{cut}, {resized}" if cut else resized

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """pixels (channels, height, width) of any dtype in their new size, in the same dtype.

        Four channels of uint8 are RGBA: colours are weighed by how opaque they are. All else is resized channel by
        channel, in float32 unless it is uint8; integers are rounded and clipped.
        """
        height, width = pixels.shape[1:]
        target = self.shape(height, width)
        if self.crop:
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
            pixels = pixels[:, top : top + self.crop, left : left + self.crop]
            height = width = self.crop
        if (height, width) == target:
            return pixels
        box, inner = self._frame(height, width, target)
        resized = _resized(pixels, inner, box, Image.Resampling[self.filter.upper()])
        if inner == target:
            return resized
        framed = np.zeros((len(pixels), *target), pixels.dtype)
        top, left = (target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2
        framed[:, top : top + inner[0], left : left + inner[1]] = resized
        return framed

    def box(self, height: int, width: int, corners: tuple[float, ...]) -> tuple[float, ...] | None:
        """Where a box of an image of this size comes to: left, top, right, bottom in pixels -> shares of the new image.

        What lies outside is cut off; None where nothing is left.
        """
        target, cut = self.shape(height, width), (0, 0)
        if self.crop:
            cut = (width - self.crop) // 2, (height - self.crop) // 2
            height = width = self.crop
        (left, top, right, bottom), inner = self._frame(height, width, target)
        spans = ((left + cut[0], right - left), (top + cut[1], bottom - top))
        found: list[float] = []
        for i, corner in enumerate(corners):
            (start, length), (outer, side) = spans[i % 2], (target[1 - i % 2], inner[1 - i % 2])
            inside = min(max((corner - start) / length, 0.0), 1.0)
            found.append(((outer - side) // 2 + side * inside) / outer)
        return tuple(found) if found[0] < found[2] and found[1] < found[3] else None

    def _frame(
        self, height: int, width: int, target: tuple[int, int]
    ) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
        """The part of the image that is used (left, top, right, bottom), and the height and width it is resized to."""
        if self.fit == "stretch":
            return (0, 0, width, height), target
        if self.fit == "pad":
            scale = min(target[0] / height, target[1] / width)
            return (0, 0, width, height), (max(1, round(height * scale)), max(1, round(width * scale)))
        scale = min(height / target[0], width / target[1])
        high, wide = target[0] * scale, target[1] * scale
        left, top = (width - wide) / 2, (height - high) / 2
        return (left, top, min(left + wide, width), min(top + high, height)), target


def _resized(
    pixels: np.ndarray, inner: tuple[int, int], box: tuple[float, float, float, float], by: Image.Resampling
) -> np.ndarray:
    size = (inner[1], inner[0])
    if pixels.dtype == np.uint8 and len(pixels) in (3, 4):
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return np.asarray(image.resize(size, by, box=box)).transpose(2, 0, 1)
    kind = np.uint8 if pixels.dtype == np.uint8 else np.float32
    planes = [Image.fromarray(np.ascontiguousarray(plane, dtype=kind)).resize(size, by, box=box) for plane in pixels]
    resized = np.stack([np.asarray(plane) for plane in planes])
    if np.issubdtype(pixels.dtype, np.integer) and kind == np.float32:
        limits = np.iinfo(pixels.dtype)
        resized = np.rint(resized).clip(limits.min, limits.max)
    return resized.astype(pixels.dtype)
