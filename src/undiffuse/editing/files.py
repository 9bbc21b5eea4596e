"""Items and masks from files, as a model knows them."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from undiffuse.core.errors import Refused

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
LARGEST = 2**26  # pixels


def item(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The item in a picture (8 bit) or a .npy file, with `shape`, channels first, in the data's units and dtype.

    Raises Refused for what cannot be read and, with both shapes, for another shape.
    """
    if path.suffix.lower() == ".npy":
        found = _array(path)
        found = found[0] if found.ndim == len(shape) + 1 and len(found) == 1 else found
        found = found[None] if found.ndim == len(shape) - 1 and shape[0] == 1 else found
    else:
        if len(shape) != 3 or shape[0] not in MODES or dtype != "uint8":
            raise Refused(f"the model's items, {shape} of {dtype}, are no 8-bit pictures: give a .npy file")
        pixels = np.asarray(_picture(path).convert(MODES[shape[0]]))
        found = pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    if found.shape != shape:
        raise Refused(f"{path} has the shape {found.shape}, and {shape} is needed (channels first)")
    return found.astype(dtype)


def mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """1 where known, 0 where the mask is white (or above half) and to be painted: (1, height, width), or an item's.

    Raises Refused, with both shapes, for a mask of another size.
    """
    if path.suffix.lower() == ".npy":
        found = _array(path)
        if found.shape not in (shape, shape[1:], (1, *shape[1:])):
            raise Refused(f"the mask {path} has the shape {found.shape}, and the model's items have {shape}")
        return (found <= 0.5).astype(np.float32).reshape(-1, *shape[1:])
    picture = _picture(path).convert("L")
    if picture.size[::-1] != shape[1:]:
        raise Refused(f"the mask {path} has the size {picture.size[::-1]}, and the model's items have {shape[1:]}")
    return (np.asarray(picture)[None] < 128).astype(np.float32)


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > LARGEST:
                raise Refused(f"{path} has {picture.width} x {picture.height} pixels, which is more than can be edited")
            return picture.copy()
    except UnidentifiedImageError:
        raise Refused(f"{path} is no picture that can be read") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Refused(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
