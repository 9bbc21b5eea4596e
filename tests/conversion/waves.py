"""Weights and inputs that no random number generator draws, for figures that hold whatever library made the model."""

import math
from typing import Any

import torch
from torch import Tensor, nn


def wave(shape: tuple[int, ...], phase: float = 0.0) -> Tensor:
    """cos(0.3 i + phase) over all numbers."""
    return torch.cos(0.3 * torch.arange(math.prod(shape), dtype=torch.float64) + phase).reshape(shape)


def waved(model: Any) -> Any:
    """The model in float64 with weights 0.1 sin(0.7 k), k running over their sorted names, and 1 + that in norms."""
    weights, k = {}, 0
    for name, like in sorted(model.state_dict().items()):
        values = 0.1 * torch.sin(0.7 * torch.arange(k, k + like.numel(), dtype=torch.float64)) + (
            like.ndim == 1 and name.endswith("weight")
        )
        weights[name], k = values.reshape(like.shape), k + like.numel()
    model = model.double().eval()
    model.load_state_dict(weights)
    return model


def in_float64(run: Any) -> Any:
    """The run with its networks, and those of the runs inside it, in float64."""
    for each in (run, *run.uses.values()):
        module: nn.Module = each.module
        module.double()
    return run
