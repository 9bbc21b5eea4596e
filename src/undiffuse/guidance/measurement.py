"""A measurement of the data: an operator and its noise, and what is known from it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.guidance.gradient import refuse_inference_mode


@dataclass(frozen=True, eq=False)
class Measurement:
    """y = operator(x_0) + std noise.

    operator: any function of encoded data (batch, *shape) that keeps samples apart, linear or not; its adjoint is taken
    by automatic differentiation. y: (batch or 1, *measured). std: of the noise, in encoded units.
    """

    operator: Callable[[Tensor], Tensor]
    y: Tensor
    std: float = 0.0

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise Refused(f"a measurement needs a noise of std >= 0, not {self.std:g}")

    @classmethod
    def of(cls, operator: Callable[[Tensor], Tensor], x_0: Tensor, std: float, random: Random) -> "Measurement":
        """The measurement of known data, with noise."""
        y = operator(x_0)
        return cls(operator, y + std * random.normal(tuple(y.shape), dtype=y.dtype, device=y.device), std)

    def residual(self, x: Tensor) -> Tensor:
        """y - operator(x): (batch, *measured). Raises Refused, with both shapes, where they do not match."""
        seen = self.operator(x)
        if seen.shape[1:] != self.y.shape[1:] or len(self.y) not in (1, len(x)):
            raise Refused(
                f"the measurement has shape {tuple(self.y.shape)}, and its operator gives {tuple(seen.shape)} for "
                f"a batch {tuple(x.shape)}"
            )
        return self.y.to(seen) - seen

    def linear(self, x: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """The operator's slope A at x and its adjoint: v -> A v and u -> A' u.

        Raises Refused for an operator that is not differentiable.
        """
        refuse_inference_mode("a measurement's slope")
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            seen = self.operator(x)
            if not seen.requires_grad:
                raise Refused("the measurement's operator is not differentiable, and this method needs its adjoint")
            dual = torch.zeros_like(seen, requires_grad=True)
            (pulled,) = torch.autograd.grad(seen, x, dual, create_graph=True, allow_unused=False)

        def adjoint(u: Tensor) -> Tensor:
            return torch.autograd.grad(seen, x, u, retain_graph=True)[0]

        def slope(v: Tensor) -> Tensor:  # the derivative of the adjoint, which is linear, is the operator
            return torch.autograd.grad(pulled, dual, v, retain_graph=True)[0]

        return slope, adjoint
