"""Boxes: which things are where in a picture, a layout of any number of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Form
from undiffuse.conditions.label import class_numbers
from undiffuse.conditions.values import expanded
from undiffuse.core.arguments import shown
from undiffuse.core.errors import Refused

USAGE = 'write [["cat", x0, y0, x1, y1], ...], corners from 0 (left, top) to 1, or {"boxes": ...}'
MOST = 1000  # boxes of an item
Box = tuple[Any, float, float, float, float]  # class, left, top, right, bottom


@dataclass(frozen=True)
class BoxesCondition(ConditionKind):
    """Boxes with classes, which networks read by cross-attention, one token a box.

    A box is (class, x0, y0, x1, y1), left, top, right and bottom as shares of the picture's width and height. An item
    of the data has them as a JSON text, [["cat", 0.1, 0.2, 0.5, 0.6], ...]; or all items as an array (count, most, 5),
    whose classes are numbers, -1 for no box. The data decide the classes and how many boxes there are at most.
    """

    form: ClassVar[Form] = "boxes"
    axes: ClassVar[tuple[int, ...]] = (2,)
    needs: ClassVar[str] = "JSON texts of boxes, or (count, most, 5)"
    metavar: ClassVar[str] = "JSON|FILE"
    placed: ClassVar[bool] = True
    help: ClassVar[str] = 'A layout, [["cat", x0, y0, x1, y1], ...] with corners from 0 to 1.'

    def accepts(self, values: np.ndarray) -> bool:
        return _written(values) or (values.dtype.kind == "f" and values.ndim in (3, 4) and values.shape[-1] == 5)

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        rows = _rows(values)
        names = {box[0] for boxes in rows for box in boxes}
        if not names:
            raise Refused("the data have no box at all")
        most = max(map(len, rows))
        known = sorted(map(str, names)) if _written(values) else [str(i) for i in range(int(max(names)) + 1)]
        return replace(self, shape=(most, 5), classes=tuple(known))

    def encode(self, values: np.ndarray) -> Tensor:
        """Of data that were not trained on, boxes of classes that are not known are left out, and of more boxes than
        are known the smallest.
        """
        return self._tensor([self._known(boxes) for boxes in _rows(values)], "boxes")

    def given(self, value: Any, n: int, name: str) -> Tensor:
        return expanded(self._tensor(_asked(value, name), name), n, name)

    def from_word(self, word: str, name: str) -> Any:
        """JSON, or the path of a file that holds some."""
        path = Path(word)
        if word.lstrip()[:1] in ("[", "{"):
            return word
        if not path.is_file():
            raise Refused(f"{name} = {word!r} is no file and no JSON: {USAGE}")
        return path.read_text(encoding="utf-8", errors="replace")

    def mirror(self, values: Tensor, axis: int) -> Tensor:
        low, high = (1, 3) if axis == -1 else (2, 4)
        mirrored = values.clone()
        mirrored[..., low], mirrored[..., high] = 1 - values[..., high], 1 - values[..., low]
        return mirrored * (values[..., :1] > 0)

    def summary(self) -> str:
        return f"up to {self.shape[0] if self.shape else 0} boxes of {len(self.classes)} classes"

    @property
    def spec(self) -> tuple[Form, tuple[int, ...]]:
        return self.form, (self.shape[0], len(self.classes))

    def _known(self, boxes: list[Box]) -> list[Box]:
        known = [box for box in boxes if str(box[0]) in self.classes]
        if len(known) <= self.shape[0]:
            return known
        areas = [(box[3] - box[1]) * (box[4] - box[2]) for box in known]
        kept = sorted(range(len(known)), key=lambda i: -areas[i])[: self.shape[0]]
        return [known[i] for i in sorted(kept)]

    def _tensor(self, rows: Sequence[Sequence[Box]], name: str) -> Tensor:
        """Each box as its class's number + 1 and its corners, zeros where there is none: (len(rows), most, 5)."""
        most = self.shape[0]
        if (longest := max(map(len, rows), default=0)) > most:
            raise Refused(f"{name}: the model knows up to {most} boxes, and given are {longest}")
        found = np.zeros((len(rows), most, 5), np.float32)
        flat = [box for boxes in rows for box in boxes]
        if flat:
            numbers = class_numbers([box[0] for box in flat], len(flat), self.classes, f"{name}: class")
            there = np.arange(most) < np.array(list(map(len, rows)))[:, None]
            found[there] = [(number + 1, *box[1:]) for number, box in zip(numbers, flat, strict=True)]
        return torch.from_numpy(found)


def _written(values: np.ndarray) -> bool:
    return values.ndim == 1 and values.dtype.kind == "U"


def _rows(values: np.ndarray) -> list[list[Box]]:
    """The boxes of each item of the data."""
    if _written(values):
        return [_parsed(text, "boxes") for text in values.tolist()]
    table = values.reshape(len(values), -1, 5)
    return [_checked([[int(box[0]), *box[1:]] for box in item if box[0] >= 0], "boxes") for item in table.tolist()]


def _parsed(text: str, name: str) -> list[Box]:
    """The boxes in a JSON text."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{name}: {text[:80]!r} is no JSON ({error}): {USAGE}") from None
    if isinstance(content, Mapping):
        content = cast("Mapping[str, Any]", content).get("boxes")
    return _checked(content, name)


def _asked(value: Any, name: str) -> list[list[Box]]:
    """The boxes of one item or of several, as a person gives them."""
    if isinstance(value, np.ndarray | Tensor):
        array = value.numpy(force=True) if isinstance(value, Tensor) else value
        if _written(array):
            return _rows(array)
        if array.ndim < 2 or array.shape[-1] != 5 or array.dtype.kind not in "iuf":
            raise Refused(f"{name} has the shape {array.shape}: {USAGE}")
        return _rows(array[None] if array.ndim == 2 else array)
    if isinstance(value, str):
        return [_parsed(value, name)]
    several: Any = cast("Mapping[str, Any]", value).get("boxes") if isinstance(value, Mapping) else value
    if not isinstance(several, Sequence):
        raise Refused(f"{name} is a list of boxes, not {shown(several)}: {USAGE}")
    each = cast("Sequence[Any]", several)
    if each and all(isinstance(one, str) for one in each):
        return [_parsed(one, name) for one in each]
    if each and all(_is_list(one) and all(map(_is_list, one)) for one in each):
        return [_checked(one, name) for one in each]
    return [_checked(each, name)]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _checked(boxes: Any, name: str) -> list[Box]:
    """Boxes with corners in order inside the picture; raises Refused, with the box, for all else."""
    if not _is_list(boxes) or len(boxes) > MOST:
        raise Refused(f"{name} is a list of up to {MOST} boxes, not {shown(boxes)}: {USAGE}")
    for box in boxes:
        if not _is_list(box) or len(box) != 5 or not isinstance(box[0], str | int):
            raise Refused(f"{name}: {shown(box)} is no box: {USAGE}")
        numbers = [corner for corner in box[1:] if isinstance(corner, Real) and 0 <= float(corner) <= 1]
        if len(numbers) < 4 or not (box[1] < box[3] and box[2] < box[4]):
            raise Refused(f"{name}: the box {shown(box)} needs 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
    return [tuple(box) for box in boxes]
