"""One number a sample, shaped to stand beside the samples."""

from torch import Tensor


def column(values: Tensor, like: Tensor) -> Tensor:
    """values (batch,) as (batch, 1 ...), to broadcast against `like` (batch, ...), on its device."""
    return values.to(like.device).reshape(-1, *(1,) * (like.ndim - 1))


def factor(values: Tensor, like: Tensor) -> Tensor:
    """The same in the dtype of `like`, to multiply it."""
    return column(values.to(like), like)
