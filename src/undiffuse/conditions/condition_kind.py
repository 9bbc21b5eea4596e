"""The interface of a kind of condition: one file says all that is known about it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.values import Values
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

LARGEST = 2**24  # numbers of one value

Form = Literal["label", "vector", "text", "boxes", "embedding", "image", "map", "hole", "still", "mask"]
Derive = Callable[..., np.ndarray]  # items (count, channels, ...), white, where a number is missing -> (count, ...)


class Question(NamedTuple):
    """What is asked of items: `given`, (count, channels, ...) with NaN where it is not known, and where numbers are
    hidden that the data have, booleans.
    """

    given: np.ndarray
    hidden: np.ndarray


def from_data(default: Any = ()) -> Any:
    """A field that the data decide: left out of recipes, and kept in a model's description."""
    return field(default=default, metadata={"from_data": True})


@dataclass(frozen=True)
class ConditionKind(ABC):
    """A condition of a recipe, `[conditions.NAME]`: how it is read, asked for, encoded, dropped and described.

    drop: the chance that it is dropped in training, so that the network learns its null condition, which guidance
    needs. shape: of one encoded value. classes: names of the classes that it counts; () where it counts none. The data
    decide shape and classes.

    form: how networks take it: "label", class numbers (batch,) with a learned vector each; "vector", numbers (batch, d)
    through a linear layer; "text", bytes (batch, length) or embeddings (batch, length, d) for cross-attention; "boxes",
    classes + 1 and corners (batch, most, 5), likewise; "embedding", numbers (batch, d), likewise; "image", channels
    (batch, c, ...) beside the sample's own; "map", class numbers (batch, 1, ...), a channel a class beside them;
    "hole", channels likewise of which the first is 1 where nothing is known; "still", 1 of items whose frames have
    nothing to do with one another, (batch, 1); "mask", which places are no padding, (batch, 1, ...).
    axes: how many a shape may have. needs: what data must hold, in words. metavar: a value on the command line.
    counts_classes: its values are the data's classes; such a condition is called `label`, and no other one. predicted:
    a regressor can tell it, see `decode`. beside: it stands beside the sample, with as many axes. items: how many axes
    items have that it can be made of, see `derivation`. placed: its values name places of the item. says: its values
    are texts. completes: a value is an item of which some numbers are NaN, and asked for. optional: samples are shown
    and judged without it, where it is not `needed`. masks: its values say which places of items of different sizes
    are no padding; such a condition is called `mask`, and no other one. augments: training changes the items
    themselves, and its values say how, see `augmented`.
    Raises Refused for a chance outside [0, 1] and for shapes that the kind cannot have.
    """

    drop: float = 0.0
    shape: tuple[int, ...] = from_data()
    classes: tuple[str, ...] = from_data()

    form: ClassVar[Form]
    axes: ClassVar[tuple[int, ...]]
    needs: ClassVar[str]
    metavar: ClassVar[str]
    help: ClassVar[str] = ""
    often_called: ClassVar[tuple[str, ...]] = ()
    counts_classes: ClassVar[bool] = False
    predicted: ClassVar[bool] = False
    beside: ClassVar[bool] = False
    items: ClassVar[tuple[int, ...]] = (3,)
    placed: ClassVar[bool] = False
    says: ClassVar[bool] = False
    completes: ClassVar[bool] = False
    optional: ClassVar[bool] = False
    masks: ClassVar[bool] = False
    augments: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise Refused(f"drop is the chance that a condition is dropped: from 0 to 1, not {self.drop:g}")
        if self.shape and (len(self.shape) not in self.axes or min(self.shape) < 1 or math.prod(self.shape) > LARGEST):
            raise Refused(f"a condition of kind {self.kind!r} cannot have the shape {str(self.shape)[:80]}")

    @abstractmethod
    def accepts(self, values: np.ndarray) -> bool:
        """Whether values of the data, (count, ...), are of this kind, by their axes and their dtype."""

    @abstractmethod
    def encode(self, values: np.ndarray) -> Values:
        """Values of the data, (count, ...), as networks take them, (count, *shape)."""

    @abstractmethod
    def given(self, value: Any, n: int, name: str) -> Tensor:
        """A person's value, one for all samples or n of them, as networks take it, (n, *shape).

        value: of Python, NumPy, torch or JSON. Raises Refused, by the name, for any other value and count.
        """

    @abstractmethod
    def summary(self) -> str:
        """What a value is, in a few words for people."""

    def fit(self, values: np.ndarray, classes: Sequence[str]) -> Self:
        """A copy that knows what the training data say: the shape and what `encode` needs. classes: of the data."""
        return replace(self, shape=tuple(values.shape[1:]))

    def from_word(self, word: str, name: str) -> Any:
        """A word of the command line as a value for `given`; raises Refused if it cannot be read."""
        return word

    def from_items(self, values: np.ndarray, classes: Sequence[str]) -> Any:
        """Values of the data, (count, ...), as a person gives them, see `given`. classes: of the data."""
        return values

    def decode(self, outputs: Tensor) -> Tensor:
        """Outputs of a network that predicts it, (n, d), in the units of the data, or as the chances of classes."""
        raise Refused(f"a condition of kind {self.kind!r} is not predicted")

    def captions(self, value: Any) -> tuple[str, ...]:
        """The texts to show beside samples of this value, one for all or one each; () where a value is no text."""
        return ()

    def within(self, codec: Codec) -> Self:
        """The same in a model with this codec: of a kind whose values are encoded as items are, one that knows it."""
        return self

    def usual(self, n: int) -> Tensor | None:
        """What n samples have, (n, *shape), that are given none, of a kind that needs no dropping for that; None: it
        must be given.
        """
        return None

    @property
    def paints(self) -> bool:
        """Whether a value is an item with a hole, told by one channel more, which the model paints in."""
        return False

    def derivation(self, name: str) -> Derive | None:
        """What makes the values of the items; None: the data hold them."""
        return None

    @property
    def variation(self) -> tuple[str, float] | None:
        """The folder of a run whose variations training takes in the place of values, and how strong they are."""
        return None

    def questions(self, values: np.ndarray) -> Mapping[str, Question]:
        """Of one that completes items: what is asked of the items with these values of the data, in each way that
        training asks.
        """
        return {}

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of other conditions whose values, as networks take them, it is made of besides the items."""
        return ()

    @property
    def stamp(self) -> str:
        """What tells a costly derivation, whose values are kept on the disk, from any other; "": they are not kept."""
        return ""

    @property
    def reader(self) -> str:
        """What tells the frozen encoder that reads its texts, of a kind whose `encode` is costly and makes a table of
        the different ones, from any other; "": it is not costly.
        """
        return ""

    @property
    def space(self) -> str:
        """The digest of the pair of encoders in whose space of vectors its values lie; "": in none."""
        return ""

    @property
    def of_item(self) -> bool:
        """Whether it is the item itself: what is modelled then is the item's target, or its class."""
        return False

    @property
    def noisy(self) -> bool:
        """Whether training adds noise to its values, so that the network knows noisy ones, see `noised`."""
        return False

    def noised(self, values: Tensor, level: Tensor | float, random: Random) -> Tensor:
        """Values as networks take them, (n, *shape), with noise of a level, () or (n,), which the network is told.

        Raises Refused for a kind whose values have no noise, and for a level that training never had.
        """
        raise Refused(f"a condition of kind {self.kind!r} has no noise of its own")

    def handed(self, values: Tensor, level: float) -> Tensor:
        """Of a noisy kind: values, (n, channels, ...) in [-1, 1], that have the noise of this level already, as
        networks take them: told the level. See `noised` for others.
        """
        raise Refused(f"a condition of kind {self.kind!r} has no noise of its own")

    @property
    def needed(self) -> bool:
        """Whether every sample needs a value: training never went without."""
        return self.drop == 0

    @property
    def redrawn(self) -> bool:
        """Whether `drawn` makes something else of values each time."""
        return self.noisy

    def drawn(self, values: Tensor, random: Random) -> Tensor:
        """Values as networks take them, (n, *shape), as training sees them once: with noise, of one that has some."""
        return values

    def augmented(self, x: Tensor, random: Random) -> tuple[Tensor, Tensor]:
        """Of one that augments: items in the data's units, (n, *shape), as training sees them once, and the values
        that say how they were changed.
        """
        raise Refused(f"a condition of kind {self.kind!r} changes no items")

    def finished(self, x: Tensor, values: Tensor) -> Tensor:
        """Samples x in the data's units with these values, as networks take them, as people get them."""
        return x

    def mirror(self, values: Tensor, axis: int) -> Tensor:
        """Values as networks take them, (n, *shape), of items that are mirrored: -1 left to right, -2 top to bottom."""
        return values.flip(axis) if self.beside or self.masks else values

    @property
    def spec(self) -> tuple[Form, tuple[int, ...]]:
        """What a network is built for: the form and the shape; of boxes (most, classes), of maps (classes, ...), of
        embeddings (numbers, tokens).
        """
        return self.form, self.shape

    @property
    def kind(self) -> str:
        """The name that a recipe's `kind` says."""
        return registry.name_of(self)

    @property
    def fitted(self) -> bool:
        """Whether the data have decided its shape or its classes."""
        return bool(self.shape or self.classes)

    def null(self, n: int) -> Tensor:
        """Values for n samples that have none, (n, *shape): with `drop` true for them they are the null condition."""
        return torch.zeros(n, *self.shape, dtype=torch.float32)

    def written(self) -> dict[str, Any]:
        """The fields that a recipe says."""
        return {"kind": self.kind, **self._said(from_data=False)}

    def described(self) -> dict[str, Any]:
        """The fields that a recipe says and those that the data decided, in JSON's types."""
        return self.written() | self._said(from_data=True)

    def _said(self, from_data: bool) -> dict[str, Any]:
        own = [each for each in fields(self) if not each.metadata.get("run", False)]  # whose path a recipe says
        found = {f.name: getattr(self, f.name) for f in own if f.metadata.get("from_data", False) == from_data}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items() if v not in ((), "")}
