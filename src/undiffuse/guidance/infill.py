"""Infill: some tokens are known, and the guess is sure of them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.mixture import Mixed
from undiffuse.core.families import KEEP, TOKENS
from undiffuse.guidance.wrapping import Guided
from undiffuse.operators.mask import fitting


@dataclass(frozen=True, eq=False)
class Infill(Guided):
    """guess = onehot(known) where `where`, elsewhere the denoiser's; a masked token that is known is shown to it.

    Prefixes, spans, any places. With a mask this is conditioning itself: what is revealed needs no noise, so that the
    samples have the law p(x_0 given the known) as far as the guess and the steps do. Other noise leaves the bias of the
    replacement method: x_t shows known tokens with noise on them, and their neighbours do not learn which are true.
    known: tokens (batch or 1, *shape). where: broadcasts to it, true where known.
    Raises Refused for values, and for known tokens and masks that do not fit.
    """

    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = KEEP

    denoiser: Denoiser
    known: Tensor
    where: Tensor

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """Whether the guess depends on x_t alone, as the inner one's does."""
        return self.denoiser.timeless

    def start(self, x_t: Tensor) -> Tensor:
        """A first batch, with the known tokens revealed if the noise is a mask."""
        return torch.where(self._where(x_t), self._known(x_t), x_t) if self.process.absorbing is not None else x_t

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Mixed:
        guess: Any = self.denoiser(self.start(x_t), t, **cond)
        where = self._where(x_t)
        sure, none = where.double(), torch.zeros((), dtype=torch.float64, device=x_t.device)
        noise = self.process.vector.to(x_t.device)
        return Mixed(self._known(x_t), sure, none, noise, 1 - sure, guess)

    def _known(self, x_t: Tensor) -> Tensor:
        return fitting(self.known, x_t, "a batch of known tokens").expand_as(x_t)

    def _where(self, x_t: Tensor) -> Tensor:
        return (fitting(self.where, x_t) > 0).expand_as(x_t)
