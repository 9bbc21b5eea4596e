"""An item with a hole in it, in the numbers that the model itself makes of items, such as latents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form, from_data
from undiffuse.conditions.derived_image import maker
from undiffuse.conditions.picture_file import in_file
from undiffuse.conditions.values import expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.progress import progress_bar

BLOCK = 2**22  # numbers of pictures that are encoded at once
WHITE = 255  # of a picture of 8 bit


@dataclass(frozen=True)
class HoleCondition(ConditionKind):
    """A picture of which a part is missing, which the model paints in: its last channel is 0 there, as transparency.

    Networks take 1 where the hole is and the encoded picture with a grey hole, (1 + c, ...) for samples of c channels:
    the mask in the nearest pixel's place, latents by the model's own autoencoder. A sample that is given none is all
    hole. of: how it is made of the items in training, "hole:SIDE"; else the data have it. dtype: of the data's
    pictures; the data decide it. Source: arXiv:2112.10752, sec. 4.5.
    """

    of: str = ""
    dtype: str = from_data("")
    codec: Any = field(default=None, compare=False, repr=False, metadata={"run": True})

    form: ClassVar[Form] = "hole"
    axes: ClassVar[tuple[int, ...]] = (3,)
    needs: ClassVar[str] = "(count, channels + 1, height, width)"
    metavar: ClassVar[str] = "FILE"
    beside: ClassVar[bool] = True
    help: ClassVar[str] = "A picture with a hole to paint in, which is transparent."

    def within(self, codec: Codec) -> Self:
        return replace(self, codec=codec)

    @property
    def paints(self) -> bool:
        return True

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 4 and (values.dtype == np.uint8 or values.dtype.kind == "f")

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        channels, *sides = values.shape[1:]
        encoded = self.codec.encoded_shape((channels - 1, *sides))
        return replace(self, shape=(1 + encoded[0], *encoded[1:]), dtype=values.dtype.name)

    def encode(self, values: np.ndarray) -> Tensor:
        block = max(1, BLOCK // math.prod(values.shape[1:]))
        starts = progress_bar(range(0, len(values), block), desc="encoding holes", unit="block", delay=2, leave=False)
        return torch.cat([self._encoded(np.asarray(values[i : i + block])) for i in starts])

    def given(self, value: Any, n: int, name: str) -> Tensor:
        found, wanted = arguments.array(value, name), self._picture
        found = found if found.ndim > len(wanted) else found[None]
        if found.shape[1:] != wanted or found.dtype.name != self.dtype:
            raise Refused(
                f"{name} is a picture whose last channel is 0 in its hole, {self.dtype} of shape {wanted}; given is "
                f"{found.dtype} of shape {found.shape[1:]}"
            )
        return expanded(self._encoded(found), n, name)

    def usual(self, n: int) -> Tensor:
        return self._encoded(np.zeros((1, *self._picture), self.dtype)).expand(n, *self.shape)

    def from_word(self, word: str, name: str) -> Any:
        """An image file with transparency; an .npy as it is."""
        from undiffuse.storage.image_file import Target, read

        return in_file(word, name, lambda: read(Path(word), Target(self._picture[0], "uint8")))

    def mirror(self, values: Tensor, axis: int) -> Tensor:
        if self.codec.lossy:
            raise Refused("train.flip: the latents of a mirrored picture with a hole are not the mirrored latents")
        return values.flip(axis)

    def summary(self) -> str:
        return f"a picture with a hole, {' x '.join(map(str, self._picture))}"

    def derivation(self, name: str) -> Derive | None:
        return maker(self.of, name) if self.of else None

    @property
    def _picture(self) -> tuple[int, ...]:
        """The shape of what a person gives."""
        channels, *sides = self.codec.decoded_shape((self.shape[0] - 1, *self.shape[1:]))
        return channels + 1, *sides

    def _encoded(self, values: np.ndarray) -> Tensor:
        x, there = values[:, :-1], values[:, -1:]
        known = torch.from_numpy(there.astype(np.float32)) > (WHITE / 2 if values.dtype == np.uint8 else 0.5)
        z = self.codec.encode_known(x, known).float()
        hole = F.interpolate((~known).float(), z.shape[2:], mode="nearest")
        return torch.cat([hole.to(z.device), z], dim=1)
