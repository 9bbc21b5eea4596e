"""Truncation: a guess of tokens made sharper, by a temperature, its likeliest few, or its likeliest share."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.tokens import CHUNK
from undiffuse.core.errors import Refused
from undiffuse.core.families import TOKENS
from undiffuse.guidance.wrapping import Guided

WHOLE = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}  # what leaves a guess as it is


def check_truncation(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> None:
    """Raises Refused for numbers that make no sense."""
    if not 0 < temperature < math.inf or top_k < 0 or not 0 < top_p <= 1:
        raise Refused(
            "truncation needs temperature > 0, top_k >= 0 (0: all) and top_p in (0, 1], "
            f"not {temperature:g}, {top_k} and {top_p:g}"
        )


@dataclass(frozen=True)
class Truncation(Guided):
    """guess^(1/temperature), then its top_k likeliest symbols, then the fewest whose chances sum to top_p; normalised.

    temperature 1, top_k 0 and top_p 1 leave the guess as it is; top_k = 1 takes the likeliest. What is cut is each
    token's own guess, and not that of a whole sequence. Raises Refused for values and for numbers that make no sense.
    Source: arXiv:1904.09751, sec. 3 (top_p).
    """

    families: ClassVar[frozenset[str]] = TOKENS

    denoiser: Denoiser
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_truncation(self.temperature, self.top_k, self.top_p)

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """Whether the guess depends on x_t alone, as the inner one's does."""
        return self.denoiser.timeless

    def no_density(self) -> str:
        return "truncation moves the guesses away from the chances of any one law"

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        guess: Any = self.denoiser(x_t, t, **cond)
        return guess.mapped(partial(truncated, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p))


def truncated(log_probs: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Log-probabilities (..., vocabulary) made sharper, see `Truncation`, a few places at a time."""
    flat = log_probs.reshape(-1, log_probs.shape[-1])
    parts = flat.split(max(1, 16 * CHUNK // flat.shape[1]))
    return torch.cat([_rows(part, temperature, top_k, top_p) for part in parts]).reshape(log_probs.shape)


def _rows(log_probs: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    cut = log_probs / temperature
    if 0 < top_k < cut.shape[1]:
        best = cut.topk(top_k).indices
        cut = torch.full_like(cut, -torch.inf).scatter(1, best, cut.gather(1, best))
    if top_p < 1:
        chances, order = cut.softmax(-1).sort(dim=-1, descending=True, stable=True)
        before = chances.cumsum(-1, dtype=torch.float64) - chances
        beyond = torch.zeros_like(order, dtype=torch.bool).scatter(1, order, before >= top_p)
        cut = cut.masked_fill(beyond, -torch.inf)
    return cut.log_softmax(-1)
