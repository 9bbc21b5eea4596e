"""Muon: matrices step along their gradient's nearest orthogonal matrix, everything else by AdamW."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.optimiser import Optimiser
from undiffuse.optimisers.adamw import AdamW

POLYNOMIAL = (3.4445, -4.775, 2.0315)  # a, b, c of s -> a s + b s^3 + c s^5, steep at 0 and within 0.3 of 1 behind it
ROUNDS = 5
RMS = 0.2  # of a step of AdamW, about


@dataclass(frozen=True)
class Muon(Optimiser):
    """W -= lr (0.2 sqrt(max(out, in)) orthogonal(m) + weight_decay W) for matrices W (out, in); `AdamW` for all others.

    m is the running mean of the gradient, with momentum as its share of the past, looked ahead by one step if nesterov.
    The factor gives a step the size of one of AdamW's, so that both have one lr. Kernels of convolutions are matrices
    (out, in * kernel); a weight with one row, or one number a row, is none.
    Raises Refused for a momentum outside [0, 1) and a negative decay. Source: arXiv:2502.16982, eq. 1 and 4.
    """

    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.momentum < 1 and 0 <= self.weight_decay < inf):
            raise Refused(
                "optimiser.momentum must be 0 or more and below 1, and weight_decay 0 or more, not "
                f"{self.momentum:g} and {self.weight_decay:g}"
            )

    def over(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        matrices, others = ([p for p in parameters if _is_matrix(p) is wanted] for wanted in (True, False))
        adamw = AdamW().over(others, lr) if others else None
        return MatricesAndOthers(self, matrices, adamw, lr) if matrices else AdamW().over(others, lr)


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and 1 < len(parameter) < parameter.numel()


class MatricesAndOthers(torch.optim.Optimizer):
    """`Muon` of some parameters, and an optimiser of the others, as one."""

    def __init__(
        self, muon: Muon, matrices: Sequence[nn.Parameter], others: torch.optim.Optimizer | None, lr: float
    ) -> None:
        own = {"params": list(matrices), "lr": lr}
        super().__init__([own, *(others.param_groups if others else [])], {})
        self.muon, self.others = muon, others
        if others is not None:
            others.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        lr, muon = self.param_groups[0]["lr"], self.muon
        for parameter in self.param_groups[0]["params"]:
            if (gradient := parameter.grad) is None:
                continue
            state = self.state[parameter]
            mean = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
            mean.lerp_(gradient, 1 - muon.momentum)
            ahead = gradient.lerp(mean, muon.momentum) if muon.nesterov else mean
            matrix = orthogonal(ahead.flatten(1))
            parameter.mul_(1 - lr * muon.weight_decay)
            parameter.sub_(matrix.view_as(parameter), alpha=lr * RMS * max(matrix.shape) ** 0.5)
        if self.others is not None:
            self.others.step()


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of matrix = U S V^T, by Newton-Schulz steps x -> a x + b (x x^T) x + c (x x^T)^2 x, in float32.

    All steps are polynomials of x x^T, which commute: they are multiplied, the square of the shorter side, and meet x
    once. Singular values below 1e-4 of the norm stay small.
    """
    x = (matrix if len(matrix) <= matrix.shape[1] else matrix.T).float()
    x = x / x.norm().clamp(min=torch.finfo(x.dtype).tiny)
    a, b, c = POLYNOMIAL
    gram = x @ x.T
    one = torch.eye(len(x), dtype=x.dtype, device=x.device)
    product = one
    for left in reversed(range(ROUNDS)):
        step = torch.addmm(a * one + b * gram, gram, gram, alpha=c)
        product = step @ product
        if left:
            gram = step @ gram @ step
    x = product @ x
    return (x if len(matrix) <= matrix.shape[1] else x.T).to(matrix.dtype)
