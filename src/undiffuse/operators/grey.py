"""Grey: the mean over channels."""

from dataclasses import dataclass

from torch import Tensor

from undiffuse.core.operator import Operator


@dataclass(frozen=True)
class Grey(Operator):
    """The mean over channels."""

    def __call__(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True)
