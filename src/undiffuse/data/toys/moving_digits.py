"""Moving digits: handwritten ones, of a file of one's own, that drift over a black ground and bounce off its edges."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.images.resize import Resize
from undiffuse.data.source import Source
from undiffuse.data.sources.file import File
from undiffuse.storage.notes import VIDEO
from undiffuse.storage.video_file import RATE


@dataclass(frozen=True)
class MovingDigits(Source):
    """`count` videos (count, 1, frames, size, size) uint8 of `digits` digits each; the label is the first one's class.

    path: an .npz of images (count, height, width) as uint8, with labels, such as MNIST's; each is brought to `side`
    pixels. A digit starts anywhere, moves in any direction at a speed from speed[0] to speed[1] pixels a frame, and is
    reflected by the edges; where two meet the brighter one is seen. Pictures, places and speeds are drawn from the
    seed alone. stills: of the first frames alone, (count, 1, size, size): the images of these videos.
    Source: arXiv:1502.04681, sec. 3.1, at 64 x 64 with two digits.
    """

    path: str
    count: int = 4000
    frames: int = 16
    size: int = 32
    side: int = 16
    digits: int = 1
    speed: tuple[float, float] = (1.0, 2.5)
    seed: int = 0
    stills: bool = False
    origin: str = ""

    files: ClassVar[tuple[str, ...]] = ("path",)

    def __post_init__(self) -> None:
        least = min(self.count, self.frames, self.digits)
        if least < 1 or self.seed < 0 or not 1 < self.side < self.size or not 0 <= self.speed[0] <= self.speed[1]:
            raise Refused(
                "moving digits need count, frames and digits >= 1, seed >= 0, 1 < side < size and speeds from 0 in "
                f"their order, and were given {self}"
            )

    def load(self) -> Dataset:
        """The videos, each a group of its own, with the classes of the file."""
        given = File(self.path, origin=self.origin).load()
        if given.shape[0] != 1 or not given.is_image or given.x.dtype != np.uint8:
            raise Refused(
                f"{self.path} has {given.kind} of {given.shape} {given.x.dtype}: digits are grey uint8 images"
            )
        random = np.random.Generator(np.random.Philox(self.seed))
        which = random.integers(len(given), size=(self.count, self.digits))
        small = Resize(self.side, filter="box")
        room = self.size - self.side
        start = random.uniform(0, room, (self.count, self.digits, 2))
        angle = random.uniform(0, 2 * np.pi, (self.count, self.digits))
        speed = random.uniform(*self.speed, (self.count, self.digits))
        step = speed[..., None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        frames = 1 if self.stills else self.frames
        x = np.zeros((self.count, 1, frames, self.size, self.size), np.uint8)
        for i, video in enumerate(x):
            for j, digit in enumerate(which[i]):
                picture = small.apply(np.asarray(given.x[int(digit)]))[0]
                places = reflected(start[i, j] + np.arange(frames)[:, None] * step[i, j], room)
                for frame, (top, left) in zip(video[0], places, strict=True):
                    seen = frame[top : top + self.side, left : left + self.side]
                    np.maximum(seen, picture, out=seen)
        labels = given.labels
        beside = {} if labels is None else {"label": labels[which[:, 0]]}
        name = "moving digits"
        if self.stills:
            return Dataset(x[:, :, 0], beside, given.classes, name, drawn=True)
        return Dataset(x, beside, given.classes, name, notes={VIDEO: {"rate": RATE, "videos": self.count}}, drawn=True)


def reflected(places: np.ndarray, room: float) -> np.ndarray:
    """Places on a line as a ball would have them that bounces between 0 and `room`, rounded to whole pixels."""
    folded = np.mod(places, 2 * room)
    return np.rint(np.minimum(folded, 2 * room - folded)).astype(int)
