"""Rows of a table: values and categories side by side in one tensor, each column with its process, on one clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.joint import Joint
from undiffuse.core.errors import Refused
from undiffuse.core.process.categorical import Categorical
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.process import Process
from undiffuse.core.process.product import Product
from undiffuse.core.schedule import Schedule

NUMBERS = "numbers"


def category(column: int) -> str:
    """The name of the part that is the categorical column 0, 1 ..."""
    return f"category {column}"


@dataclass(frozen=True)
class MixedColumns(Process):
    """The `Product` of a row's columns; a batch is one tensor (batch, numbers + categories) of floats.

    The first `numbers` columns are values, destroyed by `values`; each of the others holds token numbers, and has a
    process of its own in `categories`, with its own vocabulary. All of it is the product's: this cuts rows into parts
    and lays what comes out side by side.
    Raises Refused for no column at all.
    """

    family: ClassVar[str] = "mixed"
    values: Gaussian
    numbers: int
    categories: Sequence[Categorical]

    def __post_init__(self) -> None:
        if self.numbers < 0 or self.numbers + len(self.categories) == 0:
            raise Refused(f"rows need a column; given are {self.numbers} of numbers and {len(self.categories)} others")

    @cached_property
    def product(self) -> Product:
        """The parts by name: `numbers`, where there are some, and one a categorical column."""
        numbers: dict[str, Process] = {NUMBERS: self.values} if self.numbers else {}
        return Product(numbers | {category(i): column for i, column in enumerate(self.categories)})

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        return self.values.schedule

    @property
    def columns(self) -> int:
        """How many there are."""
        return self.numbers + len(self.categories)

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """The parts of rows: numbers (batch, numbers), and int64 (batch, 1) for each categorical column.

        Raises Refused for another number of columns.
        """
        if x.ndim != 2 or x.shape[1] != self.columns:
            raise Refused(f"rows have {self.columns} columns here, and the batch has shape {tuple(x.shape)}")
        cut = {category(i): x[:, self.numbers + i, None].round().long() for i in range(len(self.categories))}
        return ({NUMBERS: x[:, : self.numbers]} if self.numbers else {}) | cut

    def row(self, parts: Mapping[str, Distribution]) -> "Row":
        """The belief about rows with these beliefs about their parts."""
        return Row(self, Joint(parts))

    def point(self, x_0: Tensor) -> "Row":
        return self.row(self.product.point(self.split(x_0)).parts)

    def prior(self, shape: tuple[int, ...] | torch.Size, t: Tensor | float = 1.0) -> "Row":
        """shape: (batch, columns)."""
        shapes = {category(i): (shape[0], 1) for i in range(len(self.categories))} | {NUMBERS: (shape[0], self.numbers)}
        return self.row(self.product.prior(shapes, t).parts)

    def marginal(self, x_0: Tensor, t: Tensor | float) -> "Row":
        return self.row(self.product.marginal(self.split(x_0), t).parts)

    def bridge(self, x_t: Tensor, x_0: Distribution, s: Tensor | float, t: Tensor | float, keep: Any = None) -> "Row":
        """Each column's bridge. keep: one for all parts, or a dictionary as `keep` gives."""
        return self.row(self.product.bridge(self.split(x_t), x_0, s, t, keep).parts)

    def keep(self, s: Tensor | float, t: Tensor | float, like: Tensor, eta: float = 0.0) -> Any:
        """Each part's keep, in a dictionary."""
        return self.product.keep(s, t, self.split(like), eta)

    def shown(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """Numbers as bright as data, categories as they are."""
        return torch.cat([self.values.shown(x_t[:, : self.numbers], t), x_t[:, self.numbers :]], dim=1)


@dataclass(frozen=True, eq=False)
class Row(Distribution):
    """A belief about rows: a `Joint` whose samples lie side by side, (batch, columns), in the dtype of the numbers."""

    process: MixedColumns
    joint: Joint

    @property
    def parts(self) -> Mapping[str, Distribution]:
        """The beliefs about numbers and about each categorical column."""
        return self.joint.parts

    @property
    def mean(self) -> dict[str, Any]:  # type: ignore[override]
        """Each part's mean."""
        return self.joint.mean

    @property
    def certain(self) -> bool:
        """Whether the numbers have no variance."""
        return NUMBERS in self.parts and self.parts[NUMBERS].certain

    @property
    def reported(self) -> bool:
        """Whether the numbers come with a variance."""
        return NUMBERS not in self.parts or self.parts[NUMBERS].reported

    def sample(self, random: Any) -> Tensor:
        drawn = list(self.joint.sample(random).values())
        dtype = drawn[0].dtype if drawn[0].is_floating_point() else torch.float32
        return torch.cat([part.to(dtype) for part in drawn], dim=1)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.joint.log_prob(self.process.split(x))

    def kl(self, other: "Row") -> Tensor:
        return self.joint.kl(other.joint)

    def error(self, x_0: Tensor) -> Tensor:
        """The squared error of numbers and the cross-entropy of categories, summed."""
        return self.joint.error(self.process.split(x_0))

    def mean_only(self) -> "Row":
        return Row(self.process, self.joint.mean_only())

    def rows(self, part: slice) -> "Row":
        return Row(self.process, self.joint.rows(part))

    def blend(self, other: "Row", weight: float | Tensor) -> "Row":
        return Row(self.process, self.joint.blend(other.joint, weight))
