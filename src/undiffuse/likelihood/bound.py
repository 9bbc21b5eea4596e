"""A variational bound, term by term, and what it is a bound of."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.bins import Bins
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.named_parts import elements
from undiffuse.likelihood.question import BITS, error_of_mean, has_tokens

DENSITY, LEVELS, TOKENS = "density of values", "probability of levels", "probability of tokens"
ROWS, DENSE_ROWS = "probability of rows", "density of numbers and probability of categories"
KERNEL = ", the last step being the forward kernel"


@dataclass(frozen=True, eq=False)
class Bound:
    """An upper bound on -log p(x_0) in nats: prior + sum of steps + reconstruction, of each datum.

    prior, reconstruction, draw_error: (batch,); steps: (batch, n), steps[:, i] from times[i] to the next; times:
    (n + 1,), without the final 0. draw_error: the standard error that the noise leaves in each datum's sum, nan for
    one draw. elements: the numbers or tokens of one datum. convention: what the bound is of, DENSITY, LEVELS, TOKENS,
    ROWS or DENSE_ROWS, and KERNEL where the last step is the forward kernel.
    All in float64 on the CPU.
    """

    prior: Tensor
    steps: Tensor
    reconstruction: Tensor
    draw_error: Tensor
    times: Tensor
    elements: int
    convention: str

    @property
    def nats(self) -> Tensor:
        """The bound, (batch,): E[nats] >= -log p(x_0)."""
        return self.prior + self.steps.sum(1) + self.reconstruction

    @property
    def bits_per_dim(self) -> Tensor:
        """nats / (log 2 * elements), (batch,)."""
        return self.nats * (BITS / self.elements)

    @property
    def mean(self) -> tuple[float, float]:
        """Bits per dimension over the data, and its standard error."""
        return float(self.bits_per_dim.mean()), error_of_mean(self.bits_per_dim)

    def chances(self, mixed: float = 1e-3) -> Tensor:
        """How often to look at each step for the least noise: sqrt(E[step^2]), mixed with a uniform share, (n,).

        Source: arXiv:2102.09672, eq. 18, and the released code (0.001).
        """
        size = self.steps.square().mean(0).sqrt()
        even = torch.full_like(size, 1 / len(size))
        return even if float(size.sum()) == 0 else (1 - mixed) * size / size.sum() + mixed * even


def joined(
    found: list[tuple[Tensor, ...]],
    times: Tensor,
    x_0: Any,
    decoder: Decoder | Bins | None,
    denoiser: Denoiser,
    last: str = "guess",
) -> Bound:
    """The bound of all data; found: prior, steps, reconstruction and draw_error of one part of them after the other."""
    prior, steps, rebuilt, error = (torch.cat(each).double().cpu() for each in zip(*found, strict=True))
    rounded, dense = (ROWS, DENSE_ROWS) if denoiser.process.family == "mixed" else (LEVELS, DENSITY)
    convention = TOKENS if has_tokens(denoiser) else rounded if decoder else dense
    convention += KERNEL if last == "kernel" else ""
    return Bound(prior, steps, rebuilt, error, times, elements(x_0), convention)
