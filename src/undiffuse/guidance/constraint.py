"""Constraint: at each place only some symbols are possible."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.restricted import Restricted
from undiffuse.core.errors import Refused
from undiffuse.core.families import TOKENS
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True, eq=False)
class Constraint(Guided):
    """guess(x_0^i = k) ~ p(x_0^i = k given x_t) where k is allowed at place i, else 0; for every sampler of tokens.

    For any noise this is p(x_0^i given x_t, all constraints), and samples have the law of the data given the
    constraints, if places are independent. Else it is an approximation: a place does not hear what the constraints of
    places that are still noisy say of it, and no later step makes up for a choice that they make unlikely, so that the
    law is that of drawing locally. Where one symbol is left and the noise is a mask, `infill` is exact.
    allowed: booleans (*shape, symbols), or of sequences for each place the symbols, None for any of them.
    Raises Refused for values, a place without a symbol, an unknown symbol or a mask, and another shape or length.
    """

    families: ClassVar[frozenset[str]] = TOKENS

    denoiser: Denoiser
    allowed: Tensor | Sequence[Collection[int] | None]

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool((empty := ~self.table.any(-1)).any()):
            place = tuple(empty.nonzero()[0].tolist())
            raise Refused(f"no symbol is allowed at place {place[0] if len(place) == 1 else place}: allow one or more")

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """Whether the guess depends on x_t alone, as the inner one's does."""
        return self.denoiser.timeless

    def no_density(self) -> str:
        return self.denoiser.no_density() or "constraints of each place need not belong to any one law"

    @property
    def symbols(self) -> int:  # type: ignore[override]
        """How many are data: all, or all but a mask behind them."""
        size: int = self.process.vocabulary
        return size - 1 if self.process.absorbing == size - 1 else size

    @cached_property
    def table(self) -> Tensor:
        """What is allowed, booleans (*shape, vocabulary)."""
        known = self.allowed.bool() if isinstance(self.allowed, Tensor) else self._sets(self.allowed)
        if known.ndim < 2 or known.shape[-1] not in (self.symbols, self.process.vocabulary):
            raise Refused(
                f"a constraint has booleans (*shape, {self.symbols}), one for each symbol of the data; these have the "
                f"shape {tuple(known.shape)}"
            )
        found = known.new_zeros((*known.shape[:-1], self.process.vocabulary))
        found[..., : self.symbols] = known[..., : self.symbols]
        return found

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Restricted:
        if x_t.shape[1:] != self.table.shape[:-1]:
            raise Refused(
                f"the constraint is for samples of shape {tuple(self.table.shape[:-1])}, and these have "
                f"{tuple(x_t.shape[1:])}"
            )
        guess: Any = self.denoiser(x_t, t, **cond)
        return Restricted(guess, self.table.to(x_t.device), len(x_t))

    def _sets(self, allowed: Sequence[Collection[int] | None]) -> Tensor:
        found = torch.zeros(len(allowed), self.symbols, dtype=torch.bool)
        for place, some in enumerate(allowed):
            wrong = next((symbol for symbol in some or () if not 0 <= symbol < self.symbols), None)
            if wrong is not None:
                raise Refused(f"place {place} is to allow the symbol {wrong}; there are 0 ... {self.symbols - 1}")
            found[place, list(range(self.symbols) if some is None else some)] = True
        return found
