"""What tells the class of a noisy sample: a network that was trained at every noise level, as guidance reads it."""

from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core import registry
from undiffuse.core.feature_network import FeatureNetwork, by_depth
from undiffuse.core.item_predictor import LEAST
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.schedule import as_time


class NoisyClassifier(FeatureNetwork):
    """log p(label given x_t) = log_softmax(network(c_in x_t, c_time)), which `Classifier` and `MeanShift` guide by.

    network: called as network(x, c_time) with x (batch, *shape) and c_time (batch,) float32, returns logits (batch,
    classes). parameterization: a Parameterization, or its name; it gives c_in and c_time, as for a `Predictor`.
    The network works in its own dtype, the softmax in x_t's, float32 or better. Source: arXiv:2105.05233, sec. 4.
    symbols: None, for values have none.
    """

    symbols: None = None

    def __init__(self, network: nn.Module, process: Gaussian, parameterization: Parameterization | str) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.parameterization: Any = (
            registry.get("parameterizations", parameterization)()
            if isinstance(parameterization, str)
            else parameterization
        )

    def log_probs(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """log p of each class given x_t at the time t, () or (batch,): (batch, classes)."""
        t = as_time(t)
        _, _, c_in = self.parameterization.coefficients(*self.process.schedule.at(t, x_t))
        c_time = self.parameterization.time(self.process.schedule, t).to(device=x_t.device, dtype=torch.float32)
        dtype = next((p.dtype for p in self.network.parameters()), x_t.dtype)
        logits: Tensor = self.network((c_in.to(x_t.dtype) * x_t).to(dtype), c_time.expand(len(x_t)))
        return logits.to(torch.promote_types(x_t.dtype, torch.float32)).log_softmax(1)

    def layers(self, x: Tensor) -> list[Tensor]:
        """What the network makes of x without noise, at the least time that there is, see `by_depth`."""
        steps = self.process.schedule.steps
        return by_depth(self.network, lambda: self.log_probs(x, 1 / steps if steps else LEAST), x)

    def forward(self, x_t: Tensor, t: Tensor | float, label: Tensor) -> Tensor:
        """log p(label given x_t) of each sample's own label (batch,): (batch,)."""
        return self.log_probs(x_t, t).gather(1, label.long()[:, None])[:, 0]

    __call__ = nn.Module.__call__
