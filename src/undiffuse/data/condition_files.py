"""Conditions beside the items: texts, vectors and images, in arrays and files of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from undiffuse.core.errors import Refused, near
from undiffuse.data.arrays import channels_first, layout
from undiffuse.data.coco import boxes_of, coco
from undiffuse.data.images.paired import paired
from undiffuse.data.images.resize import Resize
from undiffuse.data.labels import TABLES, column, of_files
from undiffuse.data.stored import Member, members
from undiffuse.data.walk import same, walk
from undiffuse.storage.files import read_text

LIMIT = 2**20  # bytes of a text
UNCHANGED = Resize()
DTYPES = (np.uint8, np.uint16, np.int16, np.float32)


def from_arrays(
    wanted: Mapping[str, str], arrays: Mapping[str, Member] | Sequence[str], count: int, path: str
) -> dict[str, np.ndarray]:
    """The conditions by name, each from an array of the file, an .npy of its own, or a .csv column of texts.

    arrays: those of the file; names alone where it has been looked through.
    Raises Refused for arrays and files that are not there, and for what is no condition of so many items.
    """
    return {name: _found(name, where, arrays, count, path) for name, where in wanted.items()}


def of_images(
    wanted: Mapping[str, str], files: Sequence[str], root: Path, resize: Resize = UNCHANGED
) -> dict[str, np.ndarray]:
    """The texts and pictures of image files by name: "beside", a .txt with each image's name, a .csv with the columns
    `file` and the condition's name, or a .json of {file: text}, or one of boxes in COCO's format, in pixels before
    `resize`; or a folder of pictures of the same names, see `paired`.
    """
    folders = {name: where for name, where in wanted.items() if where != "beside" and Path(where).is_dir()}
    return {
        name: paired(name, where, files, resize)
        if name in folders
        else np.array(_of_images(name, where, files, root, resize))
        for name, where in wanted.items()
    }


def refuse_label(wanted: Mapping[str, object]) -> None:
    """Raises Refused where a condition is called as the classes are, which would be two of one name."""
    if "label" in wanted:
        raise Refused(
            "conditions.label would be a second condition of that name: classes are named with --set data.labels=NAME"
        )


def value(array: np.ndarray, count: int, where: str) -> np.ndarray:
    """A condition of so many items: texts (count,), vectors (count, d) as float32, or images (count, channels, ...).

    Numbers (count,) are vectors of one; images without channels get one. Raises Refused for anything else.
    """
    if not array.ndim or len(array) != count:
        raise Refused(f"{where} has shape {array.shape}, and there are {count} items: one value each is needed")
    if array.dtype.kind == "U" and array.ndim == 1:
        return array
    if array.dtype.kind not in "iufb" or not array.size:
        raise Refused(f"{where} has shape {array.shape} and dtype {array.dtype}: texts, vectors and images are taken")
    if array.ndim <= 2:
        array = array.reshape(count, -1).astype(np.float32)
    else:
        array = channels_first(array, layout(array.shape, "", where))
        array = array.astype(np.uint8) * np.uint8(255) if array.dtype == np.bool_ else array
        array = np.ascontiguousarray(array if array.dtype in DTYPES else array.astype(np.float32))
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise Refused(f"{where} has numbers that are NaN or infinite")
    return array


def _found(name: str, where: str, arrays: Mapping[str, Member] | Sequence[str], count: int, path: str) -> np.ndarray:
    if isinstance(arrays, Mapping) and where in arrays:
        return value(arrays[where].read(), count, f"{path}: {where}")
    if not where.lower().endswith((".npy", ".csv")):
        raise Refused(
            f"{path} has no array {where!r} for {name!r}{near(where, arrays)}; it has: {', '.join(arrays)}; "
            "a condition may also be an .npy or .csv file"
        )
    if not Path(where).is_file():
        raise Refused(f"there is no file {where} for {name!r}")
    if where.lower().endswith(".csv"):
        return value(np.array(column(where, name)), count, where)
    return value(next(iter(members(Path(where)).values())).read(), count, where)


def _of_images(name: str, where: str, files: Sequence[str], root: Path, resize: Resize) -> list[str]:
    if where.lower().endswith(".json") and (boxes := coco(where)) is not None:
        return boxes_of(boxes, where, files, resize)
    if where.lower().endswith(TABLES):
        return of_files(where, files, name, root)
    if where != "beside":
        raise Refused(
            f"conditions.{name} = {where!r}: write the path of a {' '.join(TABLES)} file, of a folder of pictures, or "
            "beside"
        )
    wanted = [root / same(str(Path(file).with_suffix(".txt"))) for file in files]
    there = {root / same(file): root / file for file in walk(root).files if file.endswith(".txt")}
    missing = [text for text in wanted if text not in there]
    if missing:
        raise Refused(
            f"{len(missing)} of {len(files)} images have no text for {name!r} beside them, such as {missing[0]}: "
            "write them; an empty file is the empty text"
        )
    return [read_text(there[text], "text", LIMIT).strip() for text in wanted]
