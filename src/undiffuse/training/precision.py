"""Chooses the precision of training: bfloat16 where it is faster and the network's gradients are correct in it."""

import copy
import math
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from undiffuse.core.generators import seeded
from undiffuse.core.objective import Batch, Objective
from undiffuse.core.random import Random
from undiffuse.networks.precision import TOLERANCE, autocast, has_bfloat16, pick
from undiffuse.training.batches import Batches

ITEMS, TIMES = 2, 2  # of a batch, and how often its gradient is taken in bfloat16
LEAST = 0.01  # of the whole gradient's norm: what is smaller in a layer is rounding
LITTER = range(4, 21)  # powers of two, of numbers


def choose(
    name: str,
    accelerator: Accelerator,
    module: nn.Module,
    objective: Objective,
    data: Batches,
    compiled: bool = False,
) -> tuple[torch.dtype, str]:
    """The dtype that training multiplies in, and why, in words.

    name: of train.precision. "auto" is bfloat16 where it pays, see `pick`, and where the gradient of ITEMS items of
    the data agrees with float32's, layer by layer. compiled: the network is, and so is the one that is tried: compiled
    code may be wrong where the layers themselves are right. Processes that train together choose the same. Nothing
    random moves.
    """
    device = accelerator.device
    first = pick(name, device, module)
    if name != "auto":
        return first, "train.precision says so"
    if first is torch.float32:
        lacks = "this network would not gain from it" if has_bfloat16(device) else f"{device} multiplies it no faster"
        return first, f"no bfloat16, since {lacks}"
    layer, off = worst(module, objective, data.at(0, slice(ITEMS)), device, compiled)
    agreed: Any = accelerator.reduce(torch.tensor(float(off <= TOLERANCE), dtype=torch.float32, device=device), "mean")
    if float(agreed) == 1.0:
        return first, f"gradients agree with float32's to {100 * off:.1f} %"
    wrong = f"by {100 * off:.0f} %" if off < 100 else "without bound"
    return torch.float32, f"in bfloat16 {device} gets the gradient of {layer!r} wrong {wrong}"


@torch.enable_grad()
def worst(
    module: nn.Module,
    objective: Objective,
    batch: Batch,
    device: torch.device,
    compiled: bool = False,
) -> tuple[str, float]:
    """The layer whose gradient is farthest off in bfloat16, and how far, as a share of it; infinity for no number.

    Layers that begin at 0, and hide those behind them, are filled. Kernels that are wrong leave memory as they found
    it, now and then, so that the gradient is taken TIMES times, and with memory full of NaN.
    """
    tried: Any = _filled(copy.deepcopy(module).eval())

    def gradient(dtype: torch.dtype) -> dict[str, Tensor]:
        with seeded(0, device), autocast(dtype, device):
            loss = objective.loss(tried, batch, Random(0)).mean()
        if device.type == "cpu":
            del [torch.full((2**power,), math.nan, dtype=torch.float32) for power in LITTER][:]
        loss.backward()
        found = {name: p.grad.double() for name, p in tried.named_parameters() if p.grad is not None}
        tried.zero_grad()
        return found

    exact, off = gradient(torch.float32), {"": 0.0}
    if compiled:
        tried.network.compile()
    whole = math.hypot(*(float(each.norm()) for each in exact.values()))
    for _ in range(TIMES):
        for name, half in gradient(torch.bfloat16).items():
            error = float((half - exact[name]).norm()) / max(float(exact[name].norm()), LEAST * whole, 1e-30)
            off[name] = max(off.get(name, 0.0), error if math.isfinite(error) else math.inf)
        if max(off.values()) > TOLERANCE:
            break  # what is wrong is not called more often than that takes
    return max(off.items(), key=lambda pair: pair[1])


@torch.no_grad()
def _filled(module: nn.Module) -> nn.Module:
    """The module with random numbers in weights that are all 0."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if not bool(parameter.any()):
            inputs = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float32) / inputs**0.5)
    return module
