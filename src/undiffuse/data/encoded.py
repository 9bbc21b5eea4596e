"""A set of encoded images to a data set: broken ones counted, all others decoded into memory or the cache."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from undiffuse.data.broken import Broken
from undiffuse.data.dataset import Dataset
from undiffuse.data.decode import Images
from undiffuse.data.resize import Resize
from undiffuse.data.room import Kept, find, gather


class Wishes(Protocol):
    """What a source of encoded images lets people choose."""

    @property
    def channels(self) -> int | None: ...
    @property
    def skip_broken(self) -> bool: ...
    @property
    def resize(self) -> Resize: ...


def dataset(
    wishes: Wishes, images: Images, labels: np.ndarray | None, classes: Sequence[str], there: Path, name: str
) -> Dataset:
    """All images that can be read; labels: (count,) of all images. Raises Refused for what makes some unusable."""
    kept = find(there) or _decoded(wishes, images, labels, there)
    notes = dict(kept.about)
    if resized := wishes.resize.describe():
        notes["resized"] = resized
    conditions = {"label": kept.beside["label"]} if "label" in kept.beside else {}
    return Dataset(kept.x, conditions, tuple(classes), name, notes=notes, names=kept.names)


def _decoded(wishes: Wishes, images: Images, labels: np.ndarray | None, there: Path) -> Kept:
    broken = Broken()
    which, target = images.look(wishes.channels, wishes.resize, broken)
    names: list[str] = []
    numbers: list[int] = []
    about: dict[str, object] = {}
    beside: dict[str, np.ndarray] = {}

    def blocks() -> Iterator[np.ndarray]:
        for i, pixels in images.decode(which, target, broken):
            names.append(images.names[i])
            numbers.append(i)
            yield pixels[None]
        about.update(broken.settle(wishes.skip_broken, images.where, len(images.names)))
        if labels is not None:
            beside["label"] = labels[numbers]

    return gather(there, blocks(), len(which), Kept(np.empty(0), beside, names, about))
