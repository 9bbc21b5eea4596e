"""Muon: matrices step along their gradient's nearest orthogonal matrix, everything else by AdamW."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.optimiser import Optimiser
from undiffuse.optimisers.adamw import AdamW


@dataclass(frozen=True)
class Muon(Optimiser):
    """W -= lr scale orthogonal(momentum) for matrices; `AdamW` with the same lr for all others.

    Matrices are weights of two axes, and kernels of convolutions (out, in, *kernel) as (out, in * kernel); an axis of
    length 1 counts for nothing, so that a vector in whatever shape is none. momentum, nesterov: of the gradient.
    weight_decay: of the matrices. scale: so that a step has the size of AdamW's.
    Raises Refused where this version of PyTorch has no Muon. Source: arXiv:2502.16982, sec. 2.2.
    """

    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: float = 0.0

    def over(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        if not hasattr(torch.optim, "Muon"):
            raise Refused(f"optimiser 'muon' comes with PyTorch 2.9, and this is {torch.__version__}: take adamw")
        matrices, others = ([p for p in parameters if _is_matrix(p) is wanted] for wanted in (True, False))
        if not matrices:
            return AdamW().over(others, lr)
        views = [nn.Parameter(_matrix(p.detach(), p).view(len(p), -1)) for p in matrices]
        made = torch.optim.Muon(
            views,
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        return Two(matrices, made, AdamW().over(others, lr) if others else None)


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and 1 < len(parameter) < parameter.numel()


def _matrix(x: Tensor, parameter: nn.Parameter) -> Tensor:
    """x with its axes in the order in which the parameter lies in memory, such as channels last: a matrix's columns
    may stand in any order.
    """
    return x.permute(0, *sorted(range(1, x.ndim), key=parameter.stride, reverse=True))


class Two(torch.optim.Optimizer):
    """Muon of parameters that it sees as matrices, and an optimiser of the others, as one."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], muon: torch.optim.Optimizer, others: torch.optim.Optimizer | None
    ) -> None:
        own = [{**group, "params": list(parameters)} for group in muon.param_groups]
        super().__init__([*own, *(others.param_groups if others else [])], {})
        self.muon, self.others = muon, others
        self.pairs = list(zip(parameters, chain.from_iterable(g["params"] for g in muon.param_groups), strict=True))
        if others is not None:
            others.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.muon.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        for parameter, view in self.pairs:
            view.grad = None if parameter.grad is None else _matrix(parameter.grad, parameter).reshape(view.shape)
            self.muon.state[view] = self.state[parameter]
        self.muon.step()
        if self.others is not None:
            self.others.step()
