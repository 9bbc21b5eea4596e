"""What guesses the data behind a noisy batch: the interface, and the two that hold a trained network."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core import registry
from undiffuse.core.categorical import Categorical
from undiffuse.core.distribution import Distribution, Normal, Tokens
from undiffuse.core.gaussian import Gaussian
from undiffuse.core.process import Process
from undiffuse.core.scales import Scales
from undiffuse.core.schedule import as_time


class Denoiser(ABC):
    """p(x_0 given x_t, cond): trained networks, guided ones and exact oracles all look like this."""

    process: Process

    @abstractmethod
    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        """The guess for a batch x_t (batch, *shape) at the time t, () or (batch,).

        cond: keyword tensors (batch, ...). One left out, or dropped for the samples where the boolean `drop` (batch,)
        is true, is the null condition.
        """

    def no_density(self) -> str:
        """Why no probability density belongs to these guesses; "" where one does."""
        return ""


class Predictor(nn.Module, Denoiser):
    """A network that guesses values:  mean = c_skip x_t + c_out network(c_in x_t, c_time).

    The four coefficients come from `scales`, in float64; the network works in its own dtype, the guess has x_t's.
    network: called as network(x, c_time, **cond) with x (batch, *shape) and c_time (batch,) float32, returns x's shape.
    scales: a Scales, or its name ("noise", "data", "velocity", "score", "flow", "edm", "consistency").
    """

    def __init__(self, network: nn.Module, process: Gaussian, scales: Scales | str) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.scales = registry.get("scales", scales)() if isinstance(scales, str) else scales

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        t = as_time(t)
        alpha, sigma = self.process.schedule.at(t, x_t)
        c_skip, c_out, c_in = (c.to(x_t.dtype) for c in self.scales.coefficients(alpha, sigma))
        c_time = (
            self.scales.time(self.process.schedule, t).to(device=x_t.device, dtype=torch.float32).expand(x_t.shape[0])
        )
        dtype = next((p.dtype for p in self.network.parameters()), x_t.dtype)
        output: Tensor = self.network((c_in * x_t).to(dtype), c_time, **cond)
        return Normal(c_skip * x_t + c_out * output.to(x_t.dtype), 0.0)

    def no_density(self) -> str:
        return self.scales.no_density()

    __call__ = nn.Module.__call__


class Classifier(nn.Module, Denoiser):
    """A network that guesses tokens:  p(x_0) = softmax(network(x_t, c_time)).

    network: called as network(tokens, c_time, **cond) with tokens (batch, *shape) int64, returns logits (batch,
    *shape, vocabulary).
    The softmax is taken in float32 or better.
    """

    def __init__(self, network: nn.Module, process: Categorical) -> None:
        super().__init__()
        self.network = network
        self.process = process

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tokens:
        c_time = self.process.schedule.index(as_time(t)).to(device=x_t.device, dtype=torch.float32).expand(x_t.shape[0])
        logits: Tensor = self.network(x_t, c_time, **cond)
        return Tokens(logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1))

    __call__ = nn.Module.__call__
