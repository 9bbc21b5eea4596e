"""The label: one class of the data's."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self
from unicodedata import normalize

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind, Form
from undiffuse.conditions.values import as_tensor
from undiffuse.core.arguments import shown
from undiffuse.core.errors import Refused, near

LABEL = "label"  # what the condition is called
NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+")  # what a class may be called


@dataclass(frozen=True)
class LabelCondition(ConditionKind):
    """A class, by its name, or by its number where no class is called by one; only `[conditions.label]`."""

    form: ClassVar[Form] = "label"
    axes: ClassVar[tuple[int, ...]] = ()
    needs: ClassVar[str] = "classes"
    metavar: ClassVar[str] = "CLASS"
    help: ClassVar[str] = "A class, by number or name. [default: the classes in turn]"
    counts_classes: ClassVar[bool] = True
    predicted: ClassVar[bool] = True

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 1 and values.dtype.kind == "i"

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        return replace(self, classes=tuple(classes))

    def encode(self, values: np.ndarray) -> Tensor:
        return as_tensor(values)

    def given(self, value: Any, n: int, name: str) -> Tensor:
        return torch.tensor(class_numbers(value, n, self.classes, name), dtype=torch.int64)

    def summary(self) -> str:
        return f"one of {len(self.classes)} classes"

    def decode(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)

    def from_items(self, values: np.ndarray, classes: Sequence[str]) -> Any:
        return [classes[number] for number in values]


def classes_of(conditions: Mapping[str, ConditionKind]) -> tuple[str, ...]:
    """The names of the classes of a model with these conditions; () of one without labels."""
    return conditions[LABEL].classes if LABEL in conditions else ()


def refuse_few(classes: int) -> None:
    """Raises Refused for data of fewer than two classes, which leave nothing to tell apart."""
    if classes < 2:
        raise Refused(f"the data have {classes} class{'es' * (classes != 1)}, and it takes 2 to tell them apart")


def class_numbers(value: Any, n: int, classes: Sequence[str], name: str) -> list[int]:
    """n places among the classes from one class or from n of them, by name: 1 is the class "1", as it is when typed.

    Only where no class is called by a number, a number is a place, counted from 0.
    Raises Refused for another count and for classes that there are not.
    """
    values: Any = value.tolist() if hasattr(value, "tolist") else value
    values = list(values) if isinstance(values, Sequence) and not isinstance(values, str | bytes) else [values] * n
    values = [v.item() if hasattr(v, "item") else v for v in values]  # a list of NumPy's numbers
    if any(isinstance(v, Sequence | Mapping | Set) and not isinstance(v, str | bytes) for v in values):
        raise Refused(f"{name} is one class, or {n} of them in a row, not {shown(value)}")
    if len(values) != n:
        raise Refused(f"{n} samples need one {name} or {n}, not {len(values)}")
    known = {normalize("NFC", text): i for i, text in enumerate(classes)}
    if not any(NUMBER.fullmatch(text) for text in classes):
        known = {str(i): i for i in range(len(classes))} | known
    words = [normalize("NFC", str(v)) if isinstance(v, str | int) else None for v in values]
    wrong = next((v for v, word in zip(values, words, strict=True) if word not in known), None)
    if None in words or wrong is not None:
        there = ", ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
        hint = near(wrong, classes) if isinstance(wrong, str) else ""
        raise Refused(f"{name} {wrong or repr(wrong)} is not one of the model's {len(classes)} classes{hint}: {there}")
    return [known[str(word)] for word in words]
