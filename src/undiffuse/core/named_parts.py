"""A batch that is one tensor, or several named parts: what is done to each of them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def each(change: Callable[[Tensor], Any], x: Any) -> Any:
    """change(x) of a tensor; of named parts a dictionary of what it gives for each."""
    if not isinstance(x, Mapping):
        return change(x)
    parts: Mapping[str, Any] = x  # pyright: ignore[reportUnknownVariableType]
    return {name: each(change, part) for name, part in parts.items()}


def first(x: Any) -> Tensor:
    """The tensor itself, or that of the first part."""
    return next(iter(x.values())) if isinstance(x, Mapping) else x  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def rows(x: Any, part: Any) -> Any:
    """Some of the samples: a slice, indices, or booleans (batch,)."""
    return each(lambda tensor: tensor[part], x)


def to(x: Any, device: torch.device | str) -> Any:
    """The batch on a device."""
    return each(lambda tensor: tensor.to(device), x)


def elements(x: Any) -> int:
    """How many numbers and tokens one sample has."""
    parts: Any = x.values() if isinstance(x, Mapping) else (x,)  # pyright: ignore[reportUnknownVariableType]
    return sum(part[0].numel() for part in parts)
