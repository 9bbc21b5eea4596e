"""An image beside the sample: a smaller picture, a mask, a map, edges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.codecs.codec import as_float
from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form, from_data
from undiffuse.conditions.derived_image import maker, stamp
from undiffuse.conditions.picture_file import picture
from undiffuse.conditions.values import as_tensor, expanded
from undiffuse.conditions.vector import refuse_moments
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.networks.conditions import LEVELS, MODES, scaled
from undiffuse.operators.blur import blurred

DTYPES = ("uint8", "uint16", "int16", "float32")
BLURRED = 0.5  # the chance of a blur: arXiv:2106.15282


@dataclass(frozen=True)
class ImageCondition(ConditionKind):
    """A picture, mask or map of any size, which networks take as channels beside the sample.

    of: how it is made of the item itself: "superresolve:4", "blur:1.5", "grey", "layout:4:4", "hole:12", "edges",
    "soft_edges", "lines:12" or "scribble:3"; else the data have it. mean, std: one each, which bring levels of 16 bit
    to [-1, 1]. dtype: in the training data. The data decide these three.
    noise: the greatest level s, from 0 to 1, of the noise that training adds, at a level drawn anew from U(0, noise):
    sqrt(1 - s^2) picture + s eps, the picture in [-1, 1]. The network is told the level, by one channel more, and so
    takes the samples of another model, which are not quite like data (conditioning augmentation, arXiv:2106.15282).
    blur: the least and the greatest deviation, in its own pixels, of the Gaussian blur that training puts on every
    second one before the noise, drawn anew each time; () for none (the same paper: 0.4 and 0.6).
    varied_by: the folder of a run of such pictures, as the stage before in a chain: training takes what it makes of
    each one in its place, by noise and the way back, `strength` of the steps (see `vary`); "": they are as they are.
    """

    of: str = ""
    noise: float = 0.0
    blur: tuple[float, ...] = ()
    varied_by: str = ""
    strength: float = 0.5
    mean: tuple[float, ...] = from_data()
    std: tuple[float, ...] = from_data()
    dtype: str = from_data("")

    form: ClassVar[Form] = "image"
    axes: ClassVar[tuple[int, ...]] = (2, 3, 4)
    needs: ClassVar[str] = "(count, channels, height, width)"
    metavar: ClassVar[str] = "FILE"
    beside: ClassVar[bool] = True
    items: ClassVar[tuple[int, ...]] = (3, 4)
    help: ClassVar[str] = "An image beside the sample, such as a small one."
    often_called: ClassVar[tuple[str, ...]] = ("map",)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_moments(self.mean, self.std, (1,))
        if not 0 <= self.noise <= 1:
            raise Refused(f"noise is the greatest level of a picture's noise: from 0 to 1, not {self.noise:g}")
        if not 0 < self.strength <= 1:
            raise Refused(f"strength is the share of varied_by's steps: above 0 and up to 1, not {self.strength:g}")
        if self.dtype not in ("", *DTYPES):
            raise Refused(f"a condition is of {', '.join(DTYPES)}, not {self.dtype[:40]!r}")
        if self.blur and not (len(self.blur) == 2 and 0 < self.blur[0] <= self.blur[1]):
            raise Refused(f"blur is the least and the greatest deviation in pixels, as [0.4, 0.6], not {self.blur}")
        if self.blur and self.shape and len(self.shape) != 3:
            raise Refused(f"blur is of pictures (channels, height, width), and this condition has shape {self.shape}")

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim - 1 in self.axes and (values.dtype.kind in "uf" or values.dtype == np.int16)

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        found = replace(self, shape=tuple(int(side) for side in values.shape[1:]), dtype=values.dtype.name)
        if not _deep(values):
            return found
        low, high = int(values.min()), int(values.max())
        return replace(found, mean=((low + high) / 2,), std=(((high - low) or 2) / 2,))

    def encode(self, values: np.ndarray) -> Tensor:
        """16-bit ones in [-1, 1] where their range is known, others as they are; without noise."""
        deep = self.mean and _deep(values)
        return self._told((as_float(values) - self.mean[0]) / self.std[0] if deep else as_tensor(values))

    def given(self, value: Any, n: int, name: str) -> Tensor:
        """Integers are scaled, and all is brought to the size that the condition had in training."""
        found = self._in_dtype(arguments.array(value, name), name)
        images = scaled(self._bare(self.encode(found)))
        axes, (channels, *sides) = len(self.shape), self.shape
        images = images[None] if images.ndim == axes - 1 else images  # a grey image without its one channel
        images = images[None] if images.ndim == axes else images
        if images.ndim != axes + 1 or images.shape[1] != channels:
            raise Refused(f"{name} is an image of shape {self.shape}, of any size; given is {found.shape}")
        if list(images.shape[2:]) != sides:
            smooth = {"align_corners": False, "antialias": True} if axes == 3 else {"align_corners": False}
            images = F.interpolate(images.float(), sides, mode=MODES[axes - 1], **smooth)
        return expanded(self._told(images.float()), n, name)

    def from_word(self, word: str, name: str) -> Any:
        return picture(word, name, self.shape)

    @property
    def spec(self) -> tuple[Form, tuple[int, ...]]:
        channels, *sides = self.shape
        return self.form, (channels + self.noisy, *sides)

    @property
    def stamp(self) -> str:
        return stamp(self.of)

    @property
    def paints(self) -> bool:
        return self.of.startswith("hole:")

    @property
    def noisy(self) -> bool:
        return self.noise > 0

    def null(self, n: int) -> Tensor:
        return torch.zeros(n, *self.spec[1], dtype=torch.float32)

    def noised(self, values: Tensor, level: Tensor | float, random: Random) -> Tensor:
        if not self.noisy:
            raise Refused("this image has no noise: the network was trained without (conditions.NAME.noise = 0)")
        levels = torch.as_tensor(level, dtype=torch.float32).expand(len(values))
        if not bool(((levels >= 0) & (levels <= self.noise)).all()):
            raise Refused(
                f"noise of a level from 0 to {self.noise:g} was trained, and asked for is {float(levels.max()):g}"
            )
        return self._noised(values, levels.to(values.device), random)

    def handed(self, values: Tensor, level: float) -> Tensor:
        told = torch.full_like(values[:, :1], 2 * level - 1)
        return torch.cat([values, told], dim=1)

    @property
    def redrawn(self) -> bool:
        return self.noisy or bool(self.blur)

    def drawn(self, values: Tensor, random: Random) -> Tensor:
        values = self._blurred(values, random.fold(2)) if self.blur else values
        if not self.noisy:
            return values
        levels = self.noise * random.fold(0).uniform((len(values),), values.device).float()
        return self._noised(values, levels, random.fold(1))

    def _blurred(self, values: Tensor, random: Random) -> Tensor:
        """Pictures in [-1, 1], every second one blurred, by chance."""
        low, high = self.blur
        told = scaled(values).float()
        std = low + (high - low) * random.fold(0).uniform((len(values),), values.device)
        which = random.fold(1).uniform((len(values), 1, 1, 1), values.device) < BLURRED
        smooth = blurred(self._bare(told), std)
        smooth = torch.cat([smooth, told[:, smooth.shape[1] :]], dim=1)
        return torch.where(which, smooth, told)

    def _noised(self, values: Tensor, levels: Tensor, random: Random) -> Tensor:
        clean = scaled(self._bare(values)).float()
        s = levels.reshape(-1, *(1,) * (clean.ndim - 1))
        noise = random.normal(tuple(clean.shape), device=clean.device)
        channel = (2 * s - 1).expand(len(clean), 1, *clean.shape[2:])
        return torch.cat([(1 - s**2).sqrt() * clean + s * noise, channel], dim=1)

    def _told(self, values: Tensor) -> Tensor:
        """Pictures with the channel that says that they have no noise, the blackest there is."""
        if not self.noisy:
            return values
        clean = torch.zeros_like(values[:, :1])
        return torch.cat([values, clean if values.dtype in LEVELS else clean - 1], dim=1)

    def _bare(self, values: Tensor) -> Tensor:
        """Pictures without that channel."""
        return values[:, :-1] if self.noisy else values

    def summary(self) -> str:
        return f"an image of {' x '.join(map(str, self.shape))}"

    @property
    def variation(self) -> tuple[str, float] | None:
        return (self.varied_by, self.strength) if self.varied_by else None

    def derivation(self, name: str) -> Derive | None:
        return maker(self.of, name) if self.of else None

    def _in_dtype(self, image: np.ndarray, name: str) -> np.ndarray:
        """The image as the network knows such, which it was trained on in this dtype ("": it is not known).

        Raises Refused for numbers where it knows levels, and for levels where it knows numbers: their scales differ.
        """
        levels = image.dtype.kind in "ui"
        if self.dtype and levels != (np.dtype(self.dtype).kind in "ui"):
            raise Refused(
                f"{name} was {self.dtype} in the training data, and given is {image.dtype}: give it as {self.dtype}"
            )
        if not levels or image.dtype.name in ("uint8", "uint16", "int16"):
            return image.astype(np.float32) if image.dtype.kind in "bf" else image
        wanted = self.dtype or "uint8"
        known = np.iinfo(wanted)
        if image.size and not known.min <= int(image.min()) <= int(image.max()) <= known.max:
            raise Refused(f"{name} is {wanted}, {known.min} to {known.max}, and has {image.min()} to {image.max()}")
        return image.astype(wanted)


def _deep(images: np.ndarray) -> bool:
    return images.dtype.kind in "iu" and images.dtype.itemsize == 2
