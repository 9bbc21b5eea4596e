"""Items as a person gives them, brought to the dtype and the range of a run's own data, or refused."""

from typing import Any

import numpy as np

from undiffuse.codecs.codec import Codec
from undiffuse.core import arguments
from undiffuse.core.errors import Refused

FAR = 3.0  # encoded data lie in [-1, 1]: a whole range beyond an end is another scale


def item(codec: Codec, x: Any, name: str, real: bool = False) -> np.ndarray:
    """`numbers` of an item that a person gives; raises Refused for those far outside the range of the data, too."""
    found = numbers(codec, x, name, real)
    if codec.bounds is not None and found.size and not codec.tokens:
        low, high = float(found.min()), float(found.max())
        ends = codec.encode(np.array([low, high], np.float64))
        if float(ends.abs().max()) > FAR:
            raise Refused(f"{name} goes from {low:g} to {high:g}, far outside the range of the run's data")
    return found


def several(codec: Codec, x: Any, name: str, real: bool = False) -> np.ndarray:
    """`numbers` of one item or more, (n, *shape); raises Refused where there is none."""
    found = numbers(codec, x, name, real)
    if not found.ndim or not len(found):
        raise Refused(f"{name} is of one item or more, (n, *shape), and this has the shape {found.shape}")
    return found


def numbers(codec: Codec, x: Any, name: str, real: bool = False) -> np.ndarray:
    """Numbers in the units of the data that a codec was fitted to, and in their dtype.

    real: what was measured of an item, which lies between the whole numbers that items are of. Raises Refused, by the
    name, for NaN and infinity, and numbers that the dtype does not hold.
    """
    found, dtype = arguments.array(x, name), np.dtype(codec.dtype or "float32")
    if not found.size or codec.tokens:
        return found
    low, high = float(found.min()), float(found.max())
    if dtype.kind in "iu":
        limits = np.iinfo(dtype.name)
        wanted = f"{name} is to be of {dtype}, as the run's data, whole numbers from {limits.min} to {limits.max}"
        if found.dtype.kind == "b" or (found.dtype.kind == "f" and low >= 0 and 0 < high <= 1):
            raise Refused(f"{wanted}; given is {found.dtype} from {low:g} to {high:g}: multiply it by {limits.max}")
        if not real:
            if not limits.min <= low <= high <= limits.max or (found != found.round()).any():
                wrong = "" if (found == found.round()).all() else ", not all whole"
                raise Refused(f"{wanted}; given is {found.dtype} from {low:g} to {high:g}{wrong}")
            found = found.astype(dtype)
    elif found.dtype.kind in "biu" and found.ndim > 2:
        raise Refused(f"{name} is to be of {dtype}, as the run's data; given is {found.dtype}, whose scale is another")
    return found if dtype.kind in "iu" else found.astype(dtype)


def alike(dtype: Any, codec: Codec, name: str) -> None:
    """Raises Refused for data of another dtype than a codec was fitted to, where one of both is of whole numbers."""
    given, own = np.dtype(dtype), np.dtype(codec.dtype or dtype)
    if codec.tokens or codec.mixed or given == own or given.kind == own.kind == "f":
        return
    raise Refused(f"the run's data are {own}, and those of {name} are {given}: bring them to {own} and its range")
