"""Classifier-free guidance: extrapolate from the guess without the condition through the guess with it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution import Distribution


@dataclass(frozen=True)
class ClassifierFree(Denoiser):
    """guess = without.blend(with, weight) = without + weight (with - without):
    1 is the plain conditional, 0 the unconditional.

    The paper counts w = weight - 1. without: another denoiser for the unconditional guess;
    none: this one with its conditions dropped, both in one call.
    The guided guess is not the one of the tilted density p(x given c)^weight p(x)^(1 - weight):
    see the docs on guidance.
    Source: arXiv:2207.12598, eq. 6.
    """

    denoiser: Denoiser
    without: Denoiser | None = None
    weight: float = 1.0

    @property
    def process(self) -> Any:  # type: ignore[override]
        return self.denoiser.process

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        if self.weight == 1:
            return self.denoiser(x_t, t, **cond)
        if self.without is not None:
            return self.without(x_t, t).blend(self.denoiser(x_t, t, **cond), self.weight)
        n = len(x_t)
        twice = {name: torch.cat([value, value]) for name, value in cond.items()}
        dropped = torch.arange(2 * n, device=x_t.device) >= n
        if "drop" in cond:
            dropped = dropped | twice.pop("drop")
        t = torch.as_tensor(t, dtype=torch.float64)
        both: Any = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]) if t.ndim else t, drop=dropped, **twice)
        conditional, unconditional = halves(both, n)
        return unconditional.blend(conditional, self.weight)


def halves(belief: Any, n: int) -> tuple[Any, Any]:
    """A belief about 2n samples as two beliefs about n."""
    fields = {name: getattr(belief, name) for name in belief.__dataclass_fields__}
    parts = [
        {k: v[part] if isinstance(v, Tensor) and v.ndim else v for k, v in fields.items()}
        for part in (slice(n), slice(n, None))
    ]
    return type(belief)(**parts[0]), type(belief)(**parts[1])
