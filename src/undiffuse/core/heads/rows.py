"""The rows of a table as named parts: its numbers together, and each column of categories by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused

NUMBERS = "numbers"


def category(column: int) -> str:
    """The name of the part that is the categorical column 0, 1 ..."""
    return f"category {column}"


@dataclass(frozen=True)
class Rows:
    """How the parts of a row lie side by side in one tensor (batch, numbers + categories): numbers, then token numbers.

    Raises Refused for no column at all.
    """

    numbers: int
    categories: int

    def __post_init__(self) -> None:
        if min(self.numbers, self.categories) < 0 or self.numbers + self.categories == 0:
            raise Refused(f"rows need a column; given are {self.numbers} of numbers and {self.categories} others")

    def cut(self, x: Tensor) -> dict[str, Tensor]:
        """The parts: numbers (batch, numbers), and int64 (batch, 1) for each categorical column.

        Raises Refused for another number of columns.
        """
        if x.ndim != 2 or x.shape[1] != self.numbers + self.categories:
            columns = self.numbers + self.categories
            raise Refused(f"rows have {columns} columns here, and the batch has shape {tuple(x.shape)}")
        tokens = {category(i): x[:, self.numbers + i, None].round().long() for i in range(self.categories)}
        return ({NUMBERS: x[:, : self.numbers]} if self.numbers else {}) | tokens

    def joined(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The rows again, in the dtype of their numbers, float32 without any."""
        dtype = parts[NUMBERS].dtype if self.numbers else torch.float32
        return torch.cat([part.to(dtype) for part in parts.values()], dim=1)

    def shapes(self, batch: int) -> dict[str, tuple[int, int]]:
        """The shape of each part."""
        tokens = {category(i): (batch, 1) for i in range(self.categories)}
        return ({NUMBERS: (batch, self.numbers)} if self.numbers else {}) | tokens
