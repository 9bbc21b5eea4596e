"""A point cloud in a file: the coordinates of points, (count, 3)."""

from pathlib import Path

import numpy as np

from undiffuse.core.errors import Refused

LARGEST = 2**30  # bytes
TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float": "f4",
    "double": "f8",
    "float32": "f4",
    "float64": "f8",
}  # of a .ply
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
XYZ = ("x", "y", "z")


def read(path: Path) -> np.ndarray:
    """The points of a .ply, of an .npy (count, 3), or of a .xyz, .txt or .csv file whose lines begin with x, y and z.

    Raises Refused, naming the file, for others, and for coordinates that are not finite.
    """
    if path.stat().st_size > LARGEST:
        raise Refused(f"{path} has more than {LARGEST} bytes")
    suffix = path.suffix.lower()
    try:
        found = _ply(path) if suffix == ".ply" else _npy(path) if suffix == ".npy" else _lines(path)
    except (OSError, ValueError, EOFError, KeyError, IndexError) as error:
        raise Refused(f"{path} cannot be read as points: {error}") from None
    if found.ndim != 2 or found.shape[1] != 3 or not len(found):
        raise Refused(f"{path} has the shape {found.shape}: a point cloud is (count, 3), one point at least")
    if not np.isfinite(found).all():
        raise Refused(f"{path} has coordinates that are NaN or infinite")
    return found.astype(np.float32)


def _npy(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def _lines(path: Path) -> np.ndarray:
    """Numbers parted by spaces, commas or semicolons, three or more a line; a first line of names is left out."""
    rows = []
    for i, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines()):
        words = line.replace(",", " ").replace(";", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append([float(word) for word in words[:3]])
        except ValueError:
            if rows or i > 1:  # the head of the table may be the first line, or the second one of an .xyz of chemists
                raise
    return np.array(rows)


def _ply(path: Path) -> np.ndarray:
    """The vertices of a .ply, text or binary."""
    data = path.read_bytes()
    head, end, body = data.partition(b"end_header\n") if b"end_header\n" in data else data.partition(b"end_header\r\n")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    if not end or not lines or lines[0] != ["ply"]:
        raise ValueError("it is no .ply file")
    order = next(ORDERS[words[1]] for words in lines if words and words[0] == "format")
    elements = [i for i, words in enumerate(lines) if words and words[0] == "element"]
    if not elements or lines[elements[0]][1] != "vertex":
        raise ValueError("its first element is not vertex")
    count = int(lines[elements[0]][2])
    last = elements[1] if len(elements) > 1 else len(lines)
    own = lines[elements[0] + 1 : last]
    fields = [(words[2], TYPES[words[1]]) for words in own if words and words[0] == "property"]
    names = [name for name, _ in fields]
    if not order:
        table = np.array([line.split()[: len(names)] for line in body.decode("ascii").splitlines()[:count]], float)
        return table[:, [names.index(axis) for axis in XYZ]]
    rows = np.frombuffer(body, np.dtype([(name, order + kind) for name, kind in fields]), count)
    return np.stack([rows[axis].astype(np.float64) for axis in XYZ], axis=1)
