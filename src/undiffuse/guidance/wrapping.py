"""What steers by wrapping: a denoiser around a denoiser, or a sampler around a sampler."""

from typing import Any

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.sampler import Sampler


class Guided(Denoiser):
    """A denoiser that changes what another one guesses."""

    denoiser: Denoiser

    @property
    def process(self) -> Any:  # type: ignore[override]
        return self.denoiser.process


class Steered(Sampler):
    """A sampler that changes the steps of another one, on its grid."""

    sampler: Sampler

    @property
    def grid(self) -> str:  # type: ignore[override]
        return self.sampler.grid


def values(guess: Any, what: str) -> Any:
    """The guess, if it is one of values; raises Refused, naming what needs them, for tokens' probabilities."""
    if not hasattr(guess, "var"):
        raise Refused(f"{what}: for guesses of values; tokens have probabilities, which only the weight moves")
    return guess
