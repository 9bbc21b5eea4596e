"""What steers by wrapping: a denoiser around a denoiser, or a sampler around a sampler."""

from typing import Any, ClassVar

import torch

from undiffuse.core import families
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.sampler import Sampler


class Guided(Denoiser):
    """A denoiser that changes what another one guesses; families and needs: of processes, as of a `Sampler`.

    Raises Refused, when it is made, for a denoiser of a process that it is not for.
    """

    families: ClassVar[frozenset[str]] = families.VALUES
    needs: ClassVar[frozenset[str]] = frozenset()
    inner: ClassVar[None] = None

    denoiser: Denoiser

    def __post_init__(self) -> None:
        families.check(self, self.process)

    @property
    def process(self) -> Any:  # type: ignore[override]
        return self.denoiser.process

    @property
    def device(self) -> torch.device | None:
        return self.denoiser.device

    @property
    def predictor(self) -> Predictor | None:
        return self.denoiser.predictor

    @property
    def jumps(self) -> str:  # type: ignore[override]
        return self.denoiser.jumps

    @property
    def jump_times(self) -> tuple[float, ...]:  # type: ignore[override]
        return self.denoiser.jump_times

    @property
    def guidance_input(self) -> tuple[float, float] | None:  # type: ignore[override]
        return self.denoiser.guidance_input

    def takes(self) -> frozenset[str]:
        """The families that it guides as it is set: all of `families`, or fewer."""
        return self.families


class Steered(Sampler):
    """A sampler that changes the steps of another one, on its grid."""

    sampler: Sampler

    @property
    def inner(self) -> Sampler:
        return self.sampler

    @property
    def grid(self) -> str:  # type: ignore[override]
        return self.sampler.grid
