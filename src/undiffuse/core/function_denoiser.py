"""FunctionDenoiser: any function that guesses the data, such as the model of another library, as a denoiser."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import NO_DENSITY, Jumps, refuse
from undiffuse.core.process.gaussian import Gaussian


@dataclass(frozen=True)
class FunctionDenoiser(Denoiser):
    """guess = function(x_t, alpha, sigma, **cond), the mean of x_0 given x_t = alpha x_0 + sigma noise.

    function: gets x_t (batch, *shape), alpha and sigma (batch, 1, ..., 1) in x_t's dtype and on its device, and the
    conditions of the sample; where guidance drops conditions, `drop` (batch,) among them says for which samples.
    It returns a tensor of x_t's shape. process: the Gaussian process whose alpha and sigma the function was made for.
    device: where the function computes; None: where its input is. jumps: what the function was trained to land on, see
    `Denoiser`; of a flow map, "any", it is given `to` as well, the pair of alpha and sigma there.
    Raises Refused for another shape.
    """

    function: Callable[..., Tensor]
    process: Gaussian  # pyright: ignore[reportIncompatibleVariableOverride]
    device: torch.device | str | None = None  # pyright: ignore[reportIncompatibleMethodOverride]
    jumps: Jumps = "none"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __call__(self, x_t: Tensor, t: Tensor | float, *, to: Tensor | float | None = None, **cond: Any) -> Normal:
        refuse(self.jumps, to)
        alpha, sigma = self._at(x_t, t)
        if self.jumps == "any":
            cond["to"] = self._at(x_t, t if to is None else to)
        guess: Any = self.function(x_t, alpha, sigma, **cond)
        if not isinstance(guess, Tensor):
            raise Refused(f"the function of a denoiser returns its guess of x_0, a tensor, and returned {guess!r:.80}")
        if guess.shape != x_t.shape:
            raise Refused(
                f"the function of a denoiser returned the shape {tuple(guess.shape)} for x_t of {tuple(x_t.shape)}: it "
                "returns its guess of x_0, of x_t's shape"
            )
        return Normal(guess.to(x_t.dtype))

    def _at(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """alpha and sigma, (batch, 1, ..., 1) in x's dtype and on its device."""
        alpha, sigma = (each.to(x).expand(len(x), *(1,) * (x.ndim - 1)) for each in self.process.schedule.at(t, x))
        return alpha, sigma

    def no_density(self) -> str:
        return NO_DENSITY[self.jumps]
