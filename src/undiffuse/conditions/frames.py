"""Some frames of the video itself: those between them, or after them, are to be filled in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form, from_data
from undiffuse.conditions.values import as_tensor, expanded
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.networks.conditions import LEVELS, scaled
from undiffuse.storage import video_file

DTYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class FramesCondition(ConditionKind):
    """A video with NaN in the frames that are not given, as channels beside the sample: the given frames, in [-1, 1], 0
    in the place of others, and one channel more that is 1 in given frames and else 0.

    most: how many frames are given at most in training; 0: all but one. Which ones is drawn anew each time: 1 to most,
    each number as likely, at random places, or in every second video the first ones. dtype: of the training data, which
    decide it. Source: arXiv:2209.14792, sec. 3.3 (masked frame interpolation and extrapolation).
    """

    most: int = 0
    dtype: str = from_data("")

    form: ClassVar[Form] = "image"
    axes: ClassVar[tuple[int, ...]] = (4,)
    items: ClassVar[tuple[int, ...]] = (4,)
    needs: ClassVar[str] = "(count, channels, frames, height, width): the videos themselves"
    metavar: ClassVar[str] = "FILE[:0,15]"
    beside: ClassVar[bool] = True
    completes: ClassVar[bool] = True
    optional: ClassVar[bool] = True
    help: ClassVar[str] = "Some frames of a video: a file, and the numbers that its frames have."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 0 or (self.shape and self.most >= self.shape[1]):
            limit = f"to {self.shape[1] - 1}" if self.shape else "on"
            raise Refused(f"most, of given frames, is a number from 1 {limit}, or 0 for all but one, not {self.most}")
        if self.dtype not in ("", *DTYPES):
            raise Refused(f"videos are of {', '.join(DTYPES)}, not {self.dtype[:40]!r}")

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 5 and values.dtype.name in DTYPES

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        if values.shape[2] < 2:
            raise Refused("frames of a video are given and filled in where it has two or more")
        return replace(self, shape=tuple(int(side) for side in values.shape[1:]), dtype=values.dtype.name)

    def encode(self, values: np.ndarray) -> Tensor:
        """Whole videos, whose frames are all given: what is given of them is drawn in training."""
        x = as_tensor(values)
        there = torch.full_like(x[:, :1], int(LEVELS[x.dtype]) if x.dtype in LEVELS else 1)
        return torch.cat([x, there], dim=1)

    def drawn(self, values: Tensor, random: Random) -> Tensor:
        n, frames = len(values), values.shape[2]
        most = self.most or frames - 1
        count = 1 + random.fold(0).integers(most, (n,), values.device)
        place = torch.arange(frames, device=values.device).expand(n, frames)
        anywhere = random.fold(1).uniform((n, frames), values.device).argsort(1).argsort(1)
        first = random.fold(2).integers(2, (n,), values.device).bool()
        given = torch.where(first[:, None], place, anywhere) < count[:, None]
        return scaled(values).float() * given[:, None, :, None, None]

    @property
    def redrawn(self) -> bool:
        return True

    @property
    def spec(self) -> tuple[Form, tuple[int, ...]]:
        channels, *sides = self.shape
        return self.form, (channels + 1, *sides)

    def null(self, n: int) -> Tensor:
        return torch.zeros(n, *self.spec[1], dtype=torch.float32)

    def from_items(self, values: np.ndarray, classes: Sequence[str]) -> Any:
        """The first and the last frame."""
        found = np.full(values.shape, np.nan, np.float32)
        found[:, :, [0, -1]] = values[:, :, [0, -1]]
        return found

    def given(self, value: Any, n: int, name: str) -> Tensor:
        """One video (channels, frames, height, width) or n of them in the data's units, NaN in frames to be filled in;
        one channel need not be said.
        """
        found = arguments.array(value, name, gaps=True).astype(np.float32)
        found = found[None] if self.shape[0] == 1 and found.shape == self.shape[1:] else found
        found = found[None] if found.ndim == len(self.shape) else found
        if found.shape[1:] != self.shape:
            raise Refused(
                f"{name} is a video of shape {self.shape} with NaN in frames to be filled in, not {found.shape}"
            )
        missing = np.isnan(found).astype(np.float32).mean((1, 3, 4))
        whole = missing == 0
        if ((missing > 0) & (missing < 1)).any():
            raise Refused(f"{name} has frames of which a part is NaN: a frame is given whole, or not at all")
        white = np.iinfo(self.dtype).max if self.dtype.startswith("u") else 0
        x = np.nan_to_num(found) * (2 / white) - 1 if white else np.nan_to_num(found)
        known = np.broadcast_to(whole[:, None, :, None, None], (len(x), 1, *x.shape[2:]))
        return expanded(torch.from_numpy(np.concatenate([x * known, known], axis=1).astype(np.float32)), n, name)

    def from_word(self, word: str, name: str) -> Any:
        """The frames of a file, and after a colon the numbers that they have in the video."""
        path, _, which = word.rpartition(":") if not Path(word).is_file() else (word, "", "")
        return placed(Path(path or word), which, self.shape)

    def summary(self) -> str:
        sides = " x ".join(map(str, self.shape)) if self.shape else "any size"
        return f"a video of {sides} with NaN in frames to be filled in"

    def derivation(self, name: str) -> Derive | None:
        return lambda x, white, missing=None: np.asarray(x)


def placed(path: Path, which: str, shape: tuple[int, ...]) -> np.ndarray:
    """The frames of a file in a video of this shape (channels, frames, height, width), float32, NaN in all others.

    which: numbers, counted from 0, as "0,15" or "0-3,15": these frames of a file that has them, or in a file with as
    many frames as numbers, where these are to stand; "": the first ones, which a file with fewer frames has. Raises
    Refused for files and numbers that do not fit.
    """
    if len(shape) != 4:
        raise Refused(f"frames are of videos, and the model's samples have shape {shape}")
    frames, x = shape[1], frames_like(path, shape)
    places = numbers(which, frames) if which else list(range(x.shape[1]))
    if len(places) >= frames:
        raise Refused(f"all {frames} frames are given: say which ones, as {path}:0,{frames - 1}")
    taken = range(x.shape[1]) if x.shape[1] == len(places) else places
    if x.shape[1] <= max(taken):
        raise Refused(f"{path} has {x.shape[1]} frames, and {len(places)} numbers are said, of a video of {frames}")
    found = np.full(shape, np.nan, np.float32)
    found[:, places] = x[:, list(taken)]
    return found


def frames_like(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """All frames of a file, (channels, frames, height, width), of the size of those of a video of this shape.

    Raises Refused, with both, for others.
    """
    channels, _, *sides = shape
    x = read_frames(path, channels)
    if x.shape[2:] != tuple(sides) or x.shape[0] != channels:
        wanted = f"{channels} channels of {sides[0]} x {sides[1]}"
        raise Refused(f"{path} has frames of shape {(x.shape[0], *x.shape[2:])}, and needed are {wanted}")
    return x


def numbers(which: str, frames: int) -> list[int]:
    """The frames that "0,15" or "0-3,15" names, in their order; raises Refused for others than there are."""
    found: set[int] = set()
    for part in which.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise Refused(f"frames are numbers from 0 to {frames - 1}, as 0,{frames - 1} or 0-3, not {which!r}")
        found |= set(range(int(first), int(last or first) + 1))
    if not found or max(found) >= frames:
        raise Refused(f"frames are numbers from 0 to {frames - 1}, as 0,{frames - 1} or 0-3, not {which!r}")
    return sorted(found)


def read_frames(path: Path, channels: int) -> np.ndarray:
    """The frames of a video, of an .npy (channels first, or without channels), or the one of an image."""
    from undiffuse.storage.image_file import Target, read

    try:
        if path.suffix.lower() == ".npy":
            x = np.load(path, allow_pickle=False)
            return x[None] if x.ndim == 3 else x
        if path.suffix.lower() in video_file.ENDINGS:
            return video_file.read(path, channels).x
        return read(path, Target(channels))[:, None]
    except Refused:
        raise
    except Exception as error:  # a decoder may stumble over damaged bytes in any way
        raise Refused(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
