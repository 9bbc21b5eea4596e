"""What guesses the data behind a noisy batch: the interface, and the two that hold a trained network."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from undiffuse.core import registry
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.distribution.tokens import Categories
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.heads.token_outputs import OUTPUTS, check
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.process import Process
from undiffuse.core.schedule import as_time


class Denoiser(ABC):
    """p(x_0 given x_t, cond): trained networks, guided ones and exact oracles all look like this."""

    process: Process

    @abstractmethod
    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        """The guess for a batch x_t (batch, *shape) at the time t, () or (batch,).

        cond: keyword tensors (batch, ...), one a condition. One left out, or dropped for the samples where `drop` is
        true, is the null condition. drop: booleans (batch,) for all conditions, or a mapping from names to such.
        """

    def no_density(self) -> str:
        """Why no probability density belongs to these guesses; "" where one does."""
        return ""

    def state_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a state of encoded data of this shape; another only where states stand for the data."""
        return shape

    def state_of(self, x_0: Any) -> Any:
        """The state that encoded data are without noise, (batch, *state_shape)."""
        return x_0

    def data_of(self, x: Any) -> Any:
        """The encoded data that a state without noise stands for."""
        return x


class Predictor(nn.Module, Denoiser):
    """A network that guesses values:  mean = c_skip x_t + c_out network(c_in x_t, c_time).

    The four coefficients come from `parameterization`, in float64; the network works in its own dtype, the guess has
    x_t's.
    network: called as network(x, c_time, **cond) with x (batch, *shape) and c_time (batch,) float32, returns x's shape,
    or twice its channels where it speaks of a variance as well, by v, its second half.
    parameterization: a Parameterization, or its name ("noise", "data", "velocity", "score", "flow", "edm",
    "consistency").
    variance: "none"; "learned_range": the guess carries fraction = (v + 1)/2, not squashed (arXiv:2102.09672, eq. 15);
    "second_moment": its var = sigma^2/(alpha^2 + sigma^2) softplus(v)/log 2, which at v = 0 is that of data N(0, 1) and
    never negative, unlike E[noise^2] less the guess's square (arXiv:2206.07309, sec. 4.1).
    Raises Refused for an unknown variance, and for a network without the second half.
    """

    def __init__(
        self, network: nn.Module, process: Gaussian, parameterization: Parameterization | str, variance: str = "none"
    ) -> None:
        super().__init__()
        if variance not in ("none", *VARIANCES):
            raise unknown("the denoiser's variance", variance, ("none", *VARIANCES))
        self.network = network
        self.process = process
        self.parameterization = (
            registry.get("parameterizations", parameterization)()
            if isinstance(parameterization, str)
            else parameterization
        )
        self.variance = variance

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        t = as_time(t)
        alpha, sigma = self.process.schedule.at(t, x_t)
        c_skip, c_out, c_in = (c.to(x_t.dtype) for c in self.parameterization.coefficients(alpha, sigma))
        c_time = (
            self.parameterization.time(self.process.schedule, t)
            .to(device=x_t.device, dtype=torch.float32)
            .expand(x_t.shape[0])
        )
        dtype = next((p.dtype for p in self.network.parameters()), x_t.dtype)
        output: Tensor = self.network((c_in * x_t).to(dtype), c_time, **cond).to(x_t.dtype)
        if self.variance not in VARIANCES:
            return Normal(c_skip * x_t + c_out * output)
        if output.shape[1] != 2 * x_t.shape[1]:
            raise Refused(
                f"a denoiser with variance {self.variance!r} needs {2 * x_t.shape[1]} channels from its network, which "
                f"gives {output.shape[1]}"
            )
        mean, v = output.chunk(2, dim=1)
        return VARIANCES[self.variance](Normal(c_skip * x_t + c_out * mean), v, alpha, sigma)

    def no_density(self) -> str:
        return self.parameterization.no_density()

    __call__ = nn.Module.__call__


def _learned_range(guess: Normal, v: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
    return replace(guess, fraction=(v + 1) / 2)


def _second_moment(guess: Normal, v: Tensor, alpha: Tensor, sigma: Tensor) -> Normal:
    var = (sigma**2 / (alpha**2 + sigma**2)).to(v.dtype) * softplus(v) / log(2)
    return replace(guess, var=var)


VARIANCES: dict[str, Callable[[Normal, Tensor, Tensor, Tensor], Normal]] = {
    "learned_range": _learned_range,
    "second_moment": _second_moment,
}


class TokenPredictor(nn.Module, Denoiser):
    """A network that guesses tokens:  p(x_0 given x_t) = output(network(x_t, c_time)).

    network: called as network(tokens, c_time, **cond) with tokens (batch, *shape) int64, returns logits (batch,
    *shape, vocabulary), or for "logistic" two numbers a token.
    symbols: how many of the process's tokens are data (None: all); those behind them, a mask, are guessed never.
    output: what the network gives: "probabilities", "subs", "plug_in", "logistic" or "ratios", see `outputs`; all of
    them become one belief. Softmaxes are taken in float32 or better.
    Raises Refused for an unknown output and one that the process has none for.
    """

    def __init__(
        self, network: nn.Module, process: Any, symbols: int | None = None, output: str = "probabilities"
    ) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.symbols = process.vocabulary if symbols is None else symbols
        check(output, process, self.symbols)
        self.output = output

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Categories:
        c_time = self.process.schedule.index(as_time(t)).to(device=x_t.device, dtype=torch.float32).expand(x_t.shape[0])
        return OUTPUTS[self.output](self.network(x_t, c_time, **cond), x_t, t, self.process, self.symbols)

    @property
    def timeless(self) -> bool:
        """Whether the guess depends on x_t alone: the network does not read the time, and its output needs none."""
        free = self.output in ("probabilities", "subs") or getattr(self.process, "absorbing", None) == self.symbols
        return free and not getattr(self.network, "reads_time", True)

    __call__ = nn.Module.__call__
