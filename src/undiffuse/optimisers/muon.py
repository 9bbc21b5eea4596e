"""Muon: matrices step along their gradient's nearest orthogonal matrix, everything else by AdamW."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from undiffuse.core.errors import Refused
from undiffuse.core.optimiser import Optimiser
from undiffuse.optimisers.adamw import AdamW


@dataclass(frozen=True)
class Muon(Optimiser):
    """W -= lr scale orthogonal(momentum) for weights of two axes; `AdamW` with the same lr for all others.

    momentum, nesterov: of the gradient. weight_decay: of the matrices. scale: so that a step has the size of AdamW's.
    Raises Refused where this version of PyTorch has no Muon. Source: arXiv:2502.16982, sec. 2.2.
    """

    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: float = 0.0

    def over(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        if not hasattr(torch.optim, "Muon"):
            raise Refused(f"optimiser 'muon' comes with PyTorch 2.9, and this is {torch.__version__}: take adamw")
        matrices, others = ([p for p in parameters if (p.ndim == 2) is wanted] for wanted in (True, False))
        if not matrices:
            return AdamW().over(others, lr)
        made = torch.optim.Muon(
            matrices,
            lr=lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        return Two(made, AdamW().over(others, lr)) if others else made


class Two(torch.optim.Optimizer):
    """Two optimisers of different parameters as one."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        super().__init__([*first.param_groups, *second.param_groups], {})
        self.parts = (first, second)
        self.state = second.state = first.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for each in self.parts:
            each.step()
