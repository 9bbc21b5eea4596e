"""What every place that data come from offers: one call that brings all of them."""

from abc import ABC, abstractmethod

from undiffuse.data.dataset import Dataset


class Source(ABC):
    """A description of data, written in a recipe; nothing is read before `load`."""

    @abstractmethod
    def load(self) -> Dataset:
        """All items in memory; raises Refused, naming the file, where the data cannot be used."""
