"""Cached: the guess of the step before, for all samples that have not changed since."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.families import KEEP, TOKENS
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Cached(Sampler):
    """Another sampler's steps, in which only samples that changed are guessed anew: the same samples for fewer calls.

    With more steps than tokens most steps of masked diffusion change nothing. The guess may not depend on the time
    (`denoiser.timeless`), as an exact one for masks does not, and a network without time conditioning. What is
    remembered is one guess, (batch, *shape, vocabulary).
    sampler: or its name; one that asks once a step, at x_t. Raises Refused for values, and for a denoiser that hears
    the time. Source: arXiv:2406.07524, its cached sampler.
    """

    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = KEEP

    sampler: Sampler | str = "ancestral"

    aliases: ClassVar[tuple[str, ...]] = ("ddpm_cache", "mdlm_cache")
    default_steps: ClassVar[int] = 256

    @property
    def inner(self) -> Sampler:
        """The sampler itself."""
        return registry.get("samplers", self.sampler)() if isinstance(self.sampler, str) else self.sampler

    @property
    def grid(self) -> str:  # type: ignore[override]
        return self.inner.grid

    @property
    def batch_times(self) -> bool:  # type: ignore[override]
        return self.inner.batch_times

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        if not denoiser.timeless:
            raise Refused(
                "cached needs a denoiser that does not hear the time: its guess would change with it; take ancestral"
            )
        inner, before, guess = memory or (None, None, None)
        known = _Known(denoiser, before, guess)
        belief, inner = self.inner.step(known, x_t, t, s, inner, random=random, **cond)
        return belief, (inner, known.at, known.guess)


class _Known(Denoiser):
    """A denoiser that remembers its last guess, and asks only about the samples that changed."""

    def __init__(self, denoiser: Denoiser, at: Tensor | None, guess: Any) -> None:
        self.denoiser, self.process, self.at = denoiser, denoiser.process, at
        self.guess: Any = guess
        self.timeless = True

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Any:
        changed = None if self.at is None else (x_t != self.at).flatten(1).any(1).nonzero()[:, 0]  # the host waits here
        if changed is None or len(changed) == len(x_t):
            self.guess = None  # frees it before the next
            self.guess = self.denoiser(x_t, t, **cond)
        elif len(changed):
            times = torch.as_tensor(t)
            when = times[changed.to(times.device)] if times.ndim else t
            part: Any = self.denoiser(x_t[changed], when, **_rows(cond, changed))
            log_probs = self.guess.log_probs.clone()
            log_probs[changed] = part.log_probs
            self.guess = Tokens(log_probs)
        self.at = x_t
        return self.guess


def _rows(cond: Mapping[str, Any], chosen: Tensor) -> dict[str, Any]:
    """The conditions of some of the samples."""
    return {
        name: _rows(value, chosen) if isinstance(value, Mapping) else value[chosen]
        for name, value in cond.items()
        if value is not None
    }
