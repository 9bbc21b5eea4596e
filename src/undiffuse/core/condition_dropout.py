"""Conditioning dropout: for which samples a condition is dropped: one answer for all conditions, or one by name."""

from collections.abc import Mapping

from torch import Tensor

Drop = Tensor | Mapping[str, Tensor] | None


def drop_mask(drop: Drop, name: str) -> Tensor | None:
    """Where the condition of this name is dropped, booleans (batch,); None: nowhere."""
    return drop.get(name) if isinstance(drop, Mapping) else drop
