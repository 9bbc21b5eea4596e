"""The levels on which a codec puts data: what the probability of an item is a sum over."""

from typing import Any

import numpy as np

from undiffuse.codecs.codec import Codec
from undiffuse.core import registry
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.errors import Refused


def level_grid(codec: Codec, shape: tuple[int, ...]) -> Decoder:
    """The levels of encoded items of this shape: the codec's own, whole numbers from 0, or of integers.

    Raises Refused for data that have no levels, such as floats, and for tokens that have no order, such as letters.
    """
    if codec.levels:
        return Decoder(-1.0, 1.0, codec.levels)
    if codec.values:
        return Decoder(0.0, codec.vocabulary - 1.0, codec.vocabulary)
    found = None if codec.tokens or codec.mixed or codec.lossy else levels(codec, np.dtype(codec.dtype), shape)
    if found is None:
        raise Refused(
            f"this run gives a probability to each of some even levels, and codec {registry.name_of(codec)!r} makes "
            f"none of data of {codec.dtype}: take pixels for pictures of 8 bit, or levels for numbers of which there "
            "are few"
        )
    return found


def levels(codec: Codec, dtype: Any, shape: tuple[int, ...]) -> Decoder | None:
    """The levels of integers of this dtype, in items of this shape, in the codec's units; none for other numbers."""
    if not np.issubdtype(dtype, np.integer):
        return None
    limits = np.iinfo(dtype)
    low, high = (codec.encode(np.full((1, *shape), end, dtype)) for end in (limits.min, limits.max))
    if not (bool((low == low.flatten()[0]).all()) and bool((high == high.flatten()[0]).all())):
        raise Refused("the codec scales channels differently, so that integers have no even levels; pixels does not")
    return Decoder(float(low.flatten()[0]), float(high.flatten()[0]), int(limits.max) - int(limits.min) + 1)
