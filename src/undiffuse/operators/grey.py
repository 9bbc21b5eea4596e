"""Grey: the mean over channels."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Grey:
    """The mean over channels."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)
