"""A picture in a file, as the value of a condition."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from undiffuse.core.errors import Refused


def picture(word: str, name: str, shape: Sequence[int]) -> np.ndarray:
    """An image file, (channels, height, width), as training reads it: uint8, or grey of 16 bit; an .npy as it is.

    shape: of the pictures that are known. Raises Refused, by the name, where there is no such file, and for what cannot
    be read.
    """
    from undiffuse.storage.image_file import DEEP, MODES, Target, kind, read

    channels, file = shape[0], Path(word)
    if file.is_file() and not _is_array(word) and (len(shape) != 3 or channels not in MODES):
        raise Refused(f"{name} has the shape {tuple(shape)}, which no image file has: give it as an .npy")

    def image() -> np.ndarray:
        dtype = kind(file).dtype
        return read(file, Target(channels, dtype if channels == 1 and dtype in DEEP else "uint8"))

    return in_file(word, name, image)


def in_file(word: str, name: str, image: Callable[[], np.ndarray]) -> np.ndarray:
    """An .npy as it is, else what is made of the image file.

    Raises Refused, by the name, where there is no such file, and for what cannot be read.
    """
    if not Path(word).is_file():
        raise Refused(f"there is no file {word} for {name!r}")
    try:
        return np.load(word, allow_pickle=False) if _is_array(word) else image()
    except Exception as error:  # a decoder may stumble over damaged bytes in any way
        raise Refused(f"{word} cannot be read for {name!r}: {error}") from None


def _is_array(word: str) -> bool:
    return word.lower().endswith(".npy")
