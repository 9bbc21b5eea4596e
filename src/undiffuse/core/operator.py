"""What is seen of a sample: the interface of every operator of measurements."""

from abc import ABC, abstractmethod

from torch import Tensor


class Operator(ABC):
    """A = operator of y = A(x_0) + noise, linear or not, and the same for each sample."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """What is seen of samples x (batch, *shape): (batch, ...)."""
