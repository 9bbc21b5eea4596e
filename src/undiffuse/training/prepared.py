"""Caches the expensive part of encoding on the disk, so that it is done once and not in every step."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import product
from typing import Any

import numpy as np

from undiffuse.codecs.codec import Codec
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, gather, place
from undiffuse.data.made_once import made_once
from undiffuse.data.rows import Items, chunk
from undiffuse.progress import progress_bar
from undiffuse.training.batches import AXES, Batches, Flip

ENCODED = "encoded data"  # what is kept, for people


def batches(
    data: Dataset,
    conditions: Mapping[str, Any],
    codec: Codec,
    size: int,
    seed: int,
    flip: Flip = False,
    **options: Any,
) -> Batches:
    """`Batches.of` the items of a data set, prepared where the codec's encoding is costly; mirror images too."""
    if not codec.stamp:
        return Batches.of(data.x, conditions, codec, size, seed, flip=flip, **options)
    x = prepared(codec, data, flip)
    return Batches.of(x, conditions, codec, size, seed, flip=flip, versions=len(x) // len(data), **options)


def prepared(codec: Codec, data: Dataset, flip: Flip = False) -> Items:
    """`Codec.prepare` of all items, each in all its mirror images, one after the other: (count * images, ...).

    They are kept under UNDIFFUSE_CACHE, by the items, their order and the codec's stamp. A process that is killed
    leaves nothing there; of several at once one works, and the others wait for it.
    Raises Refused where the cache cannot be written.
    """
    digest = blake2b(data.survey().hashes.astype("<u8").tobytes(), digest_size=16).hexdigest()
    shape = " ".join(map(str, data.shape))  # equal bytes may be items of another shape or dtype
    there = place(("prepared", codec.stamp, digest, shape, data.x.dtype.name, str(flip)), [])
    count = len(data) * 2 ** len(AXES[flip])
    return made_once(there, lambda: gather(there, _blocks(codec, data, flip), count, Decoded(np.empty(0))), ENCODED)


def _blocks(codec: Codec, data: Dataset, flip: Flip) -> Iterator[np.ndarray]:
    """The prepared items, a few at a time, behind a bar."""
    axes, step = AXES[flip], chunk(data.x)
    choices = product((False, True), repeat=len(axes))  # the first axis changes first, as the bits of a number do
    images = [tuple(axis for axis, on in zip(reversed(axes), which, strict=True) if on) for which in choices]
    with progress_bar(total=len(data), desc=f"encoding {data.name}", unit="item", delay=2, leave=False) as bar:
        for start in range(0, len(data), step):
            part = np.asarray(data.x[start : start + step])
            found = [codec.prepare(np.ascontiguousarray(np.flip(part, each))).cpu().numpy() for each in images]
            yield np.stack(found, axis=1).reshape(-1, *found[0].shape[1:])
            bar.update(len(part))
