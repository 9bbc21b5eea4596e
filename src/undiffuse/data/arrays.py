"""Arrays as people store them to items as a data set has them: which axis is what, and in which dtype."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.images.resize import Resize
from undiffuse.data.rows import Items, MappedRows, chunk, mapped, taken

AXES = ("NF", "NL", "NCL", "NLC", "NHW", "NCHW", "NHWC", "NDHW", "NCDHW", "NDHWC")
FEW = range(1, 5)  # an axis so short holds channels, where nobody says which one does
LARGEST = 1e100  # so that squares of numbers are finite
GUESSES = {2: "NF", 3: "NHW", 4: "NHWC NCHW", 5: "NDHWC NCDHW"}
MEANING = "N items, F features, C channels, L length, D depth, H height, W width"


def known(axes: str) -> None:
    """Raises Refused for axes that are none, nor empty."""
    if axes and axes not in AXES:
        raise Refused(f"axes = {axes!r}{near(axes, AXES)}: write one of {', '.join(AXES)} ({MEANING})")


def layout(shape: Sequence[int], axes: str, where: str) -> str:
    """What each axis of an array of this shape is: as said, or guessed where it is clear; raises Refused if it is not.

    (count, features), (count, height, width); of four and five axes the channels are last, or second, if that axis
    has 1 to 4 entries.
    """
    if 0 in shape:
        raise Refused(f"{where} is empty: shape {tuple(shape)}")
    if len(shape) < 2 and not axes:
        one = ": one number an item is an array (count, 1)" * len(shape)
        raise Refused(f"{where} has shape {tuple(shape)}; data have 2 to 5 axes, the items first{one}")
    if axes:
        if len(axes) != len(shape):
            raise Refused(f"{where} has shape {tuple(shape)}, and axes = {axes} has {len(axes)} letters")
        return axes
    guesses = GUESSES.get(len(shape), "").split()
    fits = [guess for guess in guesses if "C" not in guess or shape[guess.index("C")] in FEW]
    if not fits:
        words = [word for word in AXES if len(word) == len(shape)]
        one = f"--set data.axes={words[0]} is one of {', '.join(words)}" if words else f"data have 2 to 5 ({MEANING})"
        raise Refused(f"{where} has shape {tuple(shape)}: say what the axes are: {one}")
    return fits[0]


def shape_of(shape: Sequence[int], axes: str) -> tuple[int, ...]:
    """The shape of one item, channels first."""
    if axes == "NF":
        return (int(shape[1]),)
    return (
        int(shape[axes.index("C")]) if "C" in axes else 1,
        *(int(shape[axes.index(a)]) for a in "DHWL" if a in axes),
    )


def channels_first(x: np.ndarray, axes: str) -> np.ndarray:
    """The same numbers with the channels second; nothing is copied."""
    if axes == "NF":
        return x
    return np.moveaxis(x, axes.index("C"), 1) if "C" in axes else x[:, None]


def dtype_of(dtype: np.dtype, axes: str, where: str) -> np.dtype:
    """What this dtype becomes: points and floats float32 (see `wide`), images and the like keep uint8, uint16 and
    int16, bool is uint8.
    """
    native = dtype.newbyteorder("=")
    if native.hasobject:
        raise Refused(f"{where} holds Python objects, which are not read: store arrays of numbers")
    if np.issubdtype(native, np.floating) or (axes == "NF" and native.kind in "iub"):
        return np.dtype(np.float32)
    if native in (np.uint8, np.uint16, np.int16):
        return native
    if native == np.bool_:
        return np.dtype(np.uint8)
    if native.kind in "iu":
        raise Refused(
            f"{where} has dtype {dtype}; images have uint8, uint16, int16 or floats: "
            "store it after .astype('uint8') if it holds 0 to 255, .astype('uint16') up to 65535, else as float32"
        )
    raise Refused(f"{where} has dtype {dtype}; uint8, uint16, int16, bool and floats are read: convert it with astype")


def wide(x: Any, axes: str, dtype: np.dtype, where: str) -> np.dtype:
    """float64 where float32 would change the numbers: whole ones beyond 2^24, and others by more than 2^-20 of their
    range, of each feature of points and else of all numbers; in any other case the dtype.

    Numbers that float32 has not, or only a few digits of, are float64 too.
    Raises Refused for whole numbers beyond 2^53, which float64 changes, and for numbers beyond LARGEST.
    """
    if dtype != np.float32 or not (x.dtype.itemsize > 4 or (x.dtype.kind in "iu" and x.dtype.itemsize == 4)):
        return dtype
    step = max(1, 2**24 // max(1, int(np.prod(x.shape[1:])) * x.dtype.itemsize))
    over = 0 if axes == "NF" else None
    low, high = np.array(np.inf), np.array(-np.inf)
    with np.errstate(invalid="ignore"):
        for start in range(0, x.shape[0], step):
            part = x[start : start + step]
            low, high = np.fmin(low, np.fmin.reduce(part, over)), np.fmax(high, np.fmax.reduce(part, over))
        most, width = np.maximum(np.abs(low), np.abs(high)), high - low
    if x.dtype.kind in "iu":
        if (most >= 2**53).any():
            raise Refused(
                f"{where}: feature {int(np.argmax(most))} has whole numbers beyond 2^53, which float64 does not tell "
                "apart: take an offset off them, or leave it out"
            )
        return np.dtype(np.float64) if (most > 2**24).any() else dtype
    there, single = np.isfinite(most), np.finfo(np.float32)
    if (there & (most > LARGEST)).any():
        raise Refused(f"{where} has numbers up to {np.max(most):g}, too large to learn from: divide them first")
    fine = (width > 0) & ((most > 16 * width) | (width < single.tiny))
    return np.dtype(np.float64) if (there & (fine | (most > single.max))).any() else dtype


def tokens_of(dtype: np.dtype, where: str) -> np.dtype:
    """What this dtype becomes where the numbers are tokens: uint8 and uint16 stay, bool is uint8, all else int64."""
    native = dtype.newbyteorder("=")
    if native.kind not in "iub":
        raise Refused(f"{where} has dtype {dtype}, and tokens are integers: store it after .astype('int64')")
    return native if native in (np.uint8, np.uint16) else np.dtype(np.uint8 if native.kind == "b" else np.int64)


def converted(x: np.ndarray, dtype: np.dtype, points: bool) -> np.ndarray:
    """The numbers in that dtype, in memory; of images True is 255."""
    if x.dtype == np.bool_ and not points:
        return np.where(x, dtype.type(255), dtype.type(0))
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which a Dataset refuses
        return np.ascontiguousarray(x, dtype=dtype)


def items(x: Any, axes: str, dtype: np.dtype) -> Items:
    """An array with its channels second, in that dtype; mapped if it is mapped and needs no more than a cast."""
    first = channels_first(x, axes)
    if mapped(first) and first.dtype != np.bool_:
        return MappedRows(first, dtype=dtype)
    return converted(first, dtype, axes == "NF")


def blocks(x: Any, axes: str, dtype: np.dtype, resize: Resize) -> Iterator[np.ndarray]:
    """The items, a few at a time, (k, *shape), resized; x: anything that gives an array for a slice."""
    step = max(1, 2**24 // max(1, int(np.prod(x.shape[1:])) * x.dtype.itemsize))
    for start in range(0, x.shape[0], step):
        part = converted(channels_first(x[start : start + step], axes), dtype, axes == "NF")
        yield part if resize == Resize() else np.stack([resize.apply(image) for image in part])


def finite(x: Items) -> np.ndarray:
    """Whether all numbers of an item are finite, (count,)."""
    step = chunk(x)
    parts = [np.isfinite(x[i : i + step]).reshape(len(x[i : i + step]), -1).all(1) for i in range(0, len(x), step)]
    return np.concatenate(parts)


def without_broken(
    x: Items, conditions: Mapping[str, np.ndarray], where: str
) -> tuple[Items, dict[str, np.ndarray], int]:
    """The items whose numbers are all finite, with their conditions, and how many were left out."""
    whole = finite(x)
    count = int((~whole).sum())
    if not count:
        return x, dict(conditions), 0
    if count == len(x):
        raise Refused(f"{where}: all {count} items have numbers that are NaN or infinite")
    return taken(x, whole), {name: values[whole] for name, values in conditions.items()}, count
