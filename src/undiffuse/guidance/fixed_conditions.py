"""Given: a denoiser with some of its conditions fixed."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.guidance.wrapping import Guided


class FixedConditions(Guided):
    """denoiser(x_t, t, **fixed, **cond): what composition needs, where two experts take two values of one condition.

    fixed: tensors with one value, (1, ...), for the whole batch, or one a sample. Raises Refused where a condition is
    given twice.
    """

    families: ClassVar[frozenset[str]] = ANY

    def __init__(self, denoiser: Denoiser, **fixed: Any) -> None:
        self.denoiser = denoiser
        self.fixed = {name: torch.as_tensor(value) for name, value in fixed.items()}

    def no_density(self) -> str:
        return self.denoiser.no_density()

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        if twice := sorted(self.fixed.keys() & cond.keys()):
            raise Refused(f"the condition {twice[0]!r} is given twice")
        n = len(next(iter(x_t.values()))) if isinstance(x_t, dict) else len(x_t)
        fixed = {name: v.reshape(1) if v.ndim == 0 else v for name, v in self.fixed.items()}
        fixed = {name: v.expand(n, *v.shape[1:]) if len(v) == 1 else v for name, v in fixed.items()}
        return self.denoiser(x_t, t, **fixed, **cond)
