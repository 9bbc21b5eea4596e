"""A set of encoded images to a data set: broken ones counted, all others decoded into memory or the cache."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from undiffuse.data.broken import Broken
from undiffuse.data.dataset import Dataset
from undiffuse.data.decode import Images
from undiffuse.data.labels import present
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
    kept = find(there) or _decoded(wishes, images, there)
    if labels is not None:  # those of today, whatever was decoded when
        place = {name: i for i, name in enumerate(images.names)}
        labels = labels[[place[name] for name in kept.names]]
    conditions, classes, said = present(labels, classes, images.where)
    notes = {**kept.about, **said}
    if resized := wishes.resize.describe():
        notes["resized"] = resized
    return Dataset(kept.x, conditions, classes, name, notes=notes, names=kept.names)


def _decoded(wishes: Wishes, images: Images, there: Path) -> Kept:
    broken = Broken()
    which, target = images.look(wishes.channels, wishes.resize, broken)
    names: list[str] = []
    about: dict[str, object] = {}

    def blocks() -> Iterator[np.ndarray]:
        for i, pixels in images.decode(which, target, broken):
            names.append(images.names[i])
            yield pixels[None]
        about.update(broken.settle(wishes.skip_broken, images.where, len(images.names)))

    return gather(there, blocks(), len(which), Kept(np.empty(0), {}, names, about))
