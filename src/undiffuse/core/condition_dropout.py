"""Which samples a condition is hidden from: one answer for all conditions, or one by name."""

from collections.abc import Mapping

from torch import Tensor

Drop = Tensor | Mapping[str, Tensor] | None


def hidden(drop: Drop, name: str) -> Tensor | None:
    """Where the condition of this name is hidden, booleans (batch,); None: nowhere."""
    return drop.get(name) if isinstance(drop, Mapping) else drop
