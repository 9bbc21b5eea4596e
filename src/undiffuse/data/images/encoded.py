"""A set of encoded images to a data set: broken ones counted, all others decoded into memory or the cache."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic

import numpy as np

from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, find, gather, load_items, remember
from undiffuse.data.images.broken import Broken
from undiffuse.data.images.decode import Images
from undiffuse.data.labels import present
from undiffuse.data.source import Encoded

LONG = 5.0  # seconds; what took longer to decode is kept for the next time
Texts = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def dataset(
    source: Encoded,
    images: Images,
    labels: np.ndarray | None,
    classes: Sequence[str],
    there: Path,
    name: str,
    texts: Texts = lambda which: {},
) -> Dataset:
    """All images that can be read; labels: (count,) of all images. texts: further conditions of the images with these
    numbers. Raises Refused for what makes some unusable.
    """
    kept = find(there) or _decoded(source, images, there)
    which = kept.beside["which"]
    conditions, classes, said = present(None if labels is None else labels[which], classes, images.where)
    notes = {**kept.about, **said}
    if resized := source.resize.describe():
        notes["resized"] = resized
    return Dataset(
        load_items(there, kept), {**conditions, **texts(which)}, classes, name, notes=notes, names=kept.names
    )


def _decoded(source: Encoded, images: Images, there: Path) -> Decoded:
    """beside: `which`, the number of the image that each item comes from."""
    began = monotonic()
    broken = Broken()
    counts, target = images.look(source.channels, source.resize, broken)
    names: list[str] = []
    numbers: list[int] = []
    beside: dict[str, np.ndarray] = {}
    about: dict[str, object] = {}

    def blocks() -> Iterator[np.ndarray]:
        for i, items in images.decode(counts, target, broken):
            names.extend(
                [images.names[i]] if len(items) == 1 else [f"{images.names[i]}[{k}]" for k in range(len(items))]
            )
            numbers.extend([i] * len(items))
            yield items
        about.update(images.about | broken.settle(source.skip_broken, images.where, len(images.names)))
        beside["which"] = np.array(numbers, np.int64)

    made = gather(there, blocks(), sum(counts.values()), Decoded(np.empty(0), beside, names, about))
    return remember(there, made) if monotonic() - began > LONG else made
