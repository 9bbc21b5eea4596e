"""What tells numbers, or the chances of classes, of items in the data's own units, such as a trained regressor."""

from abc import ABC, abstractmethod

from torch import Tensor


class ItemReader(ABC):
    """A prediction of each item.

    columns: the names of an item's numbers, of a table; () of others. targets: of the numbers that it tells, or of the
    classes.
    """

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of an item's numbers; () where they have none."""

    @property
    @abstractmethod
    def targets(self) -> tuple[str, ...]:
        """The names of what it tells."""

    @abstractmethod
    def told_of(self, rows: Tensor, learned: bool = False) -> Tensor:
        """What is told of items, each a row of its numbers in the data's units, (n, numbers): (n, targets) in float64,
        numbers in their own units or the chances of the classes. learned: the items are those that it learned from, and
        what is told of them is, as far as it can, what it would tell if it had not.

        Raises Refused for rows of another length.
        """
