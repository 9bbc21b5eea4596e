"""A step's numbers, fetched from the device when they are read, so that a loop that ignores them waits for nothing."""

from collections.abc import Iterator, Mapping

from torch import Tensor


class Numbers(Mapping[str, float]):
    """Named floats; those that still lie on a GPU are fetched at the first look."""

    def __init__(self, values: Mapping[str, float | Tensor]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> float:
        value = self._values[name]
        if isinstance(value, Tensor):
            value = self._values[name] = value.item()
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))
