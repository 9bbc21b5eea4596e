"""The derivative of what a denoiser guesses along a direction in x and t, in forward mode or by a finite difference."""

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from undiffuse.core.broadcast import column
from undiffuse.core.errors import Refused

STEP = 5e-4  # of a finite difference: networks of the literature tell thousandths of the time apart
Method = Literal["forward", "difference"]
Function = Callable[[Tensor, Tensor], Tensor]  # of x (batch, *shape) and t (batch,)


@torch.no_grad()
def derivative(
    function: Function, x: Tensor, t: Tensor, dx: Tensor, dt: Tensor, method: Method = "forward"
) -> tuple[Tensor, Tensor]:
    """function(x, t), and d/de function(x + e dx, t + e dt) at e = 0, both without a graph.

    "forward": exact, in one pass beside the value's (`torch.func.jvp`); attention is computed as plain matrix products,
    since its fused kernels have no forward mode. "difference": central, for networks with an operation that has none;
    x and t are moved in float64, by a step that suits times which networks read in float32, and stays in [0, 1].
    Autocast is set aside: both need float32 at least. In training the gradient is that of another, usual call, so that
    hooks on it, such as those of several processes, see all of it.
    t: (batch,) float64; dx in x's dtype; dt: (batch,) float64. Raises Refused for a function without a forward mode.
    """
    with _plain(x.device.type):
        return _METHODS[method](function, x, t, dx, dt)


@contextmanager
def _plain(device: str) -> Generator[None]:
    with torch.autocast(device, enabled=False), sdpa_kernel(SDPBackend.MATH):
        yield


@cache
def _load() -> None:
    """Let torch load its rules of forward mode, once: it does so by a function of its own that it warns of."""
    nothing = torch.zeros((), dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
        torch.func.jvp(torch.sin, (nothing,), (nothing,))


def _forward(function: Function, x: Tensor, t: Tensor, dx: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    _load()
    x, dx = x.contiguous(), dx.to(x.dtype).contiguous()  # the rule of group norms knows no channels-last
    try:
        found: Any = torch.func.jvp(function, (x, t), (dx, dt.to(t)))
    except (NotImplementedError, RuntimeError) as error:
        if "forward" not in str(error):
            raise
        raise Refused(
            f"the network has an operation without a forward-mode derivative ({str(error).splitlines()[0]}): set "
            "objective.derivative = 'difference'"
        ) from error
    value, slope = found
    return value, slope


def _difference(function: Function, x: Tensor, t: Tensor, dx: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    value = function(x, t)
    room = torch.where(dt > 0, 1 - t, t) / dt.abs().clamp(min=1e-12)  # ahead, and behind
    back = torch.where(dt > 0, t, 1 - t) / dt.abs().clamp(min=1e-12)
    ahead, behind = (limit.clamp(max=STEP) for limit in (room, 0.5 * back))
    ends: list[Tensor] = []
    for move in (ahead, -behind):
        moved = x.double() + column(move, x) * dx.double()
        ends.append(function(moved, (t + move * dt).clamp(0, 1)).double())
    slope = (ends[0] - ends[1]) / column(ahead + behind, x)
    return value, slope.to(value.dtype)


_METHODS: dict[str, Any] = {"forward": _forward, "difference": _difference}
