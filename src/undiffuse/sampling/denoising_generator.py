"""A run that draws samples by a denoiser, step by step from noise."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from undiffuse.core import arguments
from undiffuse.core.denoiser import Predictor
from undiffuse.progress import Progress
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples

if TYPE_CHECKING:
    from undiffuse.sampling.session import Session


class DenoisingGenerator(Generator):
    """What samplers, guidance, editing and densities are for.

    denoiser: what it draws with. variance: the fields of `OptimalVariance` but its denoiser, where they were tuned:
    the variance "exact" of samplers.
    """

    denoises: ClassVar[bool] = True
    denoiser: Predictor

    @abstractmethod
    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> "Session":
        """A request to this run, opened; see `sample`."""

    @property
    def variance(self) -> Mapping[str, Any]:
        return self.facts.get("variance", {})

    def trajectory(self, n: int, request: SampleRequest | None = None, **options: Any) -> Iterator[Samples]:
        """The n samples that `sample` draws, in one batch, as they emerge: the noise, then the state after every step,
        decoded.

        Values are divided by sqrt(alpha^2 + sigma^2), so that noise is as bright as data under every schedule.
        """
        return (frame for _, frame in self.open(request, n=arguments.whole(n, "n"), **options).decoded_states())

    def decoded(self, x: Any) -> Samples:
        """States without noise in the data's own units, on the CPU."""
        return self.samples(self.codec.decode(self.denoiser.data_of(x)).cpu())
