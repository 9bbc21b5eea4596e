"""Items and masks from files, as a model knows them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.storage.image_file import MODES, Target, kind, read

WHITE, BRIGHT = 255.0, 128.0  # levels of a mask: the brightest, and from which on it is white
COLOURED = 32  # between the channels of what is no grey
FLAT = 32  # more colours than a mask has


def item(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The item in a picture, read as training reads it, or in a .npy file, with `shape`, channels first.

    Raises Refused for what cannot be read and, with both shapes, for another shape.
    """
    if path.suffix.lower() == ".npy":
        found = _array(path)
        found = found[0] if found.ndim == len(shape) + 1 and len(found) == 1 else found
        found = found[None] if found.ndim == len(shape) - 1 and shape[0] == 1 else found
    else:
        if len(shape) != 3 or shape[0] not in MODES:
            raise Refused(f"the model's items, {shape} of {dtype}, are no pictures: give a .npy file")
        found = _read(path, lambda file: read(file, Target(shape[0], dtype)))
    if found.shape != shape:
        raise Refused(f"{path} has the shape {found.shape}, and {shape} is needed (channels first)")
    return found


def mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """1 where known, 0 where the mask is white and to be painted: (1, height, width), or an item's.

    White is what is bright or has a colour, and of two levels, such as 0 and 1, the brighter one. What is clear is not
    white; where all that is opaque is black, what is opaque is. Raises Refused for a mask without white, for a picture
    of many colours, and, with both shapes, for one of another size.
    """
    array = path.suffix.lower() == ".npy"
    levels = _levels(_array(path), path) if array else _brightness(path)
    fits = (shape, shape[1:], (1, *shape[1:])) if array else (shape[1:],)
    if levels.shape not in fits:
        raise Refused(f"the mask {path} has the size {levels.shape}, and the model's items have {shape[1:]}")
    white = levels >= BRIGHT
    if not white.any() and len(np.unique(levels)) <= 2:
        white = levels > 0
    if not white.any():
        raise Refused(
            f"the mask {path} is empty: nothing in it is white, which says where to paint; its levels go from "
            f"{levels.min():g} to {levels.max():g} of {WHITE:g}"
        )
    return 1 - white.astype(np.float32).reshape(-1, *shape[1:])


def _brightness(path: Path) -> np.ndarray:
    """How white a picture's pixels are, 0 to WHITE, (height, width)."""
    dtype = _read(path, kind).dtype
    if dtype != "uint8":
        return _levels(_read(path, lambda file: read(file, Target(1, dtype)))[0], path)
    *colours, alpha = _read(path, lambda file: read(file, Target(4))).astype(np.float64)
    opaque, shown = alpha / WHITE, np.stack(colours)
    coloured = (np.ptp(shown, axis=0) > COLOURED) & (opaque > 0)
    if coloured.any() and len(np.unique(shown[:, opaque > 0], axis=1).T) > FLAT:
        raise Refused(f"the mask {path} is a picture of many colours: white, where to paint, on black is a mask")
    levels = np.where(coloured, WHITE, shown.max(0)) * opaque
    return levels if levels.any() or opaque.min() == 1 else WHITE * opaque


def _levels(x: np.ndarray, path: Path) -> np.ndarray:
    """Numbers of a mask as levels from 0 to WHITE: those of 16 bit are many, and floats go up to 1."""
    found = arguments.array(x, f"the mask {path}")
    deep = found.dtype.kind in "iu" and found.dtype.itemsize == 2
    most = float(found.max()) if found.size else 0.0
    return found * (WHITE / 65535 if deep else 1.0 if most > 1 or found.dtype.kind in "iu" else WHITE)


def _read(path: Path, how: Callable[[Path], Any]) -> Any:
    try:
        return how(path)
    except Refused as error:
        raise Refused(f"{path} cannot be edited: {error}") from None
    except Exception as error:  # a decoder may stumble over damaged bytes in any way
        reason = getattr(error, "strerror", None) or f"it is no picture that is known, or damaged ({error})"
        raise Refused(f"cannot read {path}: {reason}") from None


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
