"""What tells numbers, or the logits of classes, of a clean or noisy item."""

import torch
from torch import Tensor, nn

from undiffuse.core.feature_network import FeatureNetwork, by_depth
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.schedule import as_time

LEAST = 1e-6  # the time that a clean item is said to be at: some parameterizations of time have none for t = 0


class ItemPredictor(FeatureNetwork):
    """network(c_in x_t, c_time): outputs (batch, outputs) of x_t (batch, *shape) at the time t, () or (batch,).

    parameterization: gives c_in and c_time, as for a `Predictor`. t = 0: clean items, read at the least time.
    The network works in its own dtype; the outputs are in x_t's, float32 or better.
    """

    symbols: None = None

    def __init__(self, network: nn.Module, process: Gaussian, parameterization: Parameterization) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.parameterization = parameterization

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        return self.each(x_t, t)[0]

    def each(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """The outputs of each member, (members, batch, outputs): of one network there is one."""
        schedule = self.process.schedule
        t = as_time(t).clamp(min=1 / schedule.steps if schedule.steps else LEAST)
        _, _, c_in = self.parameterization.coefficients(*schedule.at(t, x_t))
        c_time = self.parameterization.time(schedule, t).to(device=x_t.device, dtype=torch.float32)
        dtype = next((p.dtype for p in self.network.parameters()), x_t.dtype)
        found: Tensor = self.network((c_in.to(x_t.dtype) * x_t).to(dtype), c_time.expand(len(x_t)))
        return found.to(torch.promote_types(x_t.dtype, torch.float32)).reshape(-1, len(x_t), found.shape[-1])

    def learns(self, x: Tensor) -> Tensor:
        """Which members learn from the clean items x (batch, *shape): booleans (members, batch); one learns of all."""
        return torch.ones(1, len(x), dtype=torch.bool, device=x.device)

    def without(self, x: Tensor) -> Tensor:
        """What is told of the clean items x by those members that do not learn from them; by the one, if it does."""
        return self(x, 0.0)

    def layers(self, x: Tensor) -> list[Tensor]:
        """What the network makes of clean items at several depths, see `by_depth`."""
        return by_depth(self.network, lambda: self(x, 0.0), x)

    __call__ = nn.Module.__call__
