"""What the output of a network means: the interface of a head, which makes it a guess of the data."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution

Belief = Callable[[Any], Distribution]  # from the output of a network to the guess


class Head(ABC):
    """How a network is shown x_t, and the guess p(x_0 given x_t) that its output stands for.

    family: of the processes that it is for, see `Process`. bound_variance: the variance of a reverse step that the
    guess's own bound takes, see `reverse`.
    Every parameterization is a head, for values; `TokenHead`, `LearnedVariance`, `BoundedHead`, `EmbeddingHead` and
    `PartsHead` are the others.
    """

    family: ClassVar[str] = "values"
    bound_variance: ClassVar[str] = "posterior"

    @abstractmethod
    def open(self, process: Any, x_t: Any, t: Tensor) -> tuple[Any, Tensor, Belief]:
        """(input, c_time, belief) of a batch x_t (batch, *shape) at t, () or (batch,).

        The network is called as network(input, c_time, **cond), with c_time (batch,) float32; belief makes a guess of
        what it returns, in x_t's dtype.
        """

    @property
    def unbounded(self) -> "Head":
        """The head whose guesses it keeps inside bounds, itself where it keeps none."""
        return self

    def check(self, process: Any) -> None:  # noqa: B027 - most heads are for every process of their family
        """Raises Refused for a process that the head is not for."""

    def timeless(self, process: Any) -> bool:
        """Whether the guess depends on x_t alone where the network does not read the time."""
        return False

    def data_symbols(self, process: Any) -> int | None:
        """How many tokens are data, the first ones of the vocabulary; None of values."""
        return None

    @property
    def embeddings(self) -> Any:
        """The `EmbeddingHead` whose values stand for tokens; None where there is none."""
        return None

    def no_density(self) -> str:
        """Why no probability density belongs to such guesses; "" where they are means of the data."""
        return ""

    def state_shape(self, shape: Any) -> Any:
        """The shape of the states of encoded data of this shape, (batch, *shape); of named parts a dictionary."""
        return shape

    def state_of(self, x_0: Any) -> Any:
        """The state that encoded data are without noise, (batch, *state_shape)."""
        return x_0

    def data_of(self, x: Any) -> Any:
        """The encoded data that a state without noise stands for."""
        return x


def per_sample(c_time: Tensor, like: Tensor) -> Tensor:
    """The time that a network reads, one a sample of `like`: (batch,) float32."""
    return c_time.to(device=like.device, dtype=torch.float32).expand(len(like))
