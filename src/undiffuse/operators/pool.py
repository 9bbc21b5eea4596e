"""Pool: the mean of blocks of pixels, the measurement of super-resolution."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.operator import Operator


@dataclass(frozen=True)
class Pool(Operator):
    """The mean of every factor x factor block, the measurement of super-resolution."""

    factor: int

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise Refused(f"super-resolution needs a factor of 2 or more, not {self.factor}")

    def __call__(self, x: Tensor) -> Tensor:
        if any(size % self.factor for size in x.shape[-2:]):
            raise Refused(f"blocks of {self.factor} do not divide images of {x.shape[-2]} x {x.shape[-1]}")
        return F.avg_pool2d(x, self.factor)
