"""A run that draws samples by a denoiser, step by step from noise."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from undiffuse.core import arguments
from undiffuse.progress import Progress
from undiffuse.sampling.denoising_run import DenoisingRun
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.session import Session


class DenoisingGenerator(DenoisingRun):
    """What samplers, guidance, editing and densities are for."""

    @abstractmethod
    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> Session:
        """A request to this run, opened; see `sample`."""

    def trajectory(self, n: int, request: SampleRequest | None = None, **options: Any) -> Iterator[Samples]:
        """The n samples that `sample` draws, in one batch, as they emerge: the noise, then the state after every step,
        decoded.

        Values are divided by sqrt(alpha^2 + sigma^2), so that noise is as bright as data under every schedule.
        """
        return (frame for _, frame in self.open(request, n=arguments.whole(n, "n"), **options).decoded_states())
