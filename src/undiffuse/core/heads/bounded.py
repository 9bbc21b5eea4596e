"""Values that lie within bounds, such as pixels: guesses never leave them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.heads.head import Belief, Head
from undiffuse.core.process.gaussian import Gaussian


@dataclass(frozen=True)
class BoundedHead(Head):
    """guess = clip(guess of the head, low, high), in training as in sampling.

    The mean of data in [low, high] lies in [low, high] as well, so that the best guess under a squared error is the one
    it was. But where a pixel is surely black, any number below `low` is as good as `low`: the network need not hit it,
    and samples have no grain there.
    Gradients pass where the head's guess lies inside, and where a step against them leads back inside; where x_t itself
    is differentiated, as for a likelihood, the derivative is that of the clip.
    head: of values, a parameterization or `LearnedVariance`. Raises Refused unless low < high.
    """

    head: Head
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise Refused(f"the bounds of guesses must rise, not {self.low:g} to {self.high:g}")

    @property
    def bound_variance(self) -> str:  # type: ignore[override]
        return self.head.bound_variance

    @property
    def unbounded(self) -> Head:
        return self.head

    def open(self, process: Gaussian, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Belief]:
        shown, c_time, belief = self.head.open(process, x_t, t)
        clip = torch.clamp if x_t.requires_grad else within
        return shown, c_time, lambda output: self._clipped(belief(output), clip)

    def _clipped(self, guess: Any, clip: Callable[[Tensor, float, float], Tensor]) -> Normal:
        return replace(guess, mean=clip(guess.mean, self.low, self.high))

    def check(self, process: Any) -> None:
        self.head.check(process)

    def no_density(self) -> str:
        return self.head.no_density()


def within(x: Tensor, low: float, high: float) -> Tensor:
    """clip(x, low, high), whose gradient is kept outside where a step against it leads back inside."""
    function: Any = _Within
    return function.apply(x, low, high)


class _Within(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        x, ctx.low, ctx.high = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (x,), (grad,) = ctx.saved_tensors, grad_outputs
        stuck = ((x < ctx.low) & (grad > 0)) | ((x > ctx.high) & (grad < 0))
        return grad.masked_fill(stuck, 0), None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad_inputs[0].masked_fill((x < ctx.low) | (x > ctx.high), 0)
