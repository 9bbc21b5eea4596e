"""What moves weights along a gradient: the interface of an optimiser."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer


class Optimiser(ABC):
    """The fields of an optimiser, before it is known whose weights it moves."""

    @abstractmethod
    def over(self, parameters: Sequence[nn.Parameter], lr: float) -> Optimizer:
        """An optimiser of PyTorch of these parameters. lr: the first learning rate; every step sets its own."""
