"""A run that draws samples."""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core import arguments
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.progress import Progress
from undiffuse.sampling.option import options
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.run import Run
from undiffuse.sampling.samples import Samples


class Generator(Run):
    """A run that draws samples in the data's own units.

    denoiser: what it draws with. variance: the fields of `OptimalVariance` but its denoiser, where they were tuned:
    the variance "exact" of samplers.
    """

    draws: ClassVar[bool] = True
    denoiser: Predictor

    @property
    def variance(self) -> Mapping[str, Any]:
        return self.facts.get("variance", {})

    @abstractmethod
    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> Any:
        """The `Session` of a request to this run; see `sample`."""

    def sample(
        self, n: int, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any
    ) -> Samples:
        """Draw n samples: (n, *shape) in the data's dtype and range, on the CPU; see `Samples`.

        Sample i depends on (seed, i) only, whatever the batch. options: the fields of `SampleRequest` by name, which go
        before those of the request, and conditions by theirs: a class (number or name), a text, numbers (d,) or an
        image (channels, height, width) of any size, or n of them; left out: samples of any.
        progress: show a bar, or call progress(done, total), in steps of one sample.
        Raises Refused, with the nearest name, for options that there are not, for values that make no sense, and for
        what the run was not trained for.
        """
        return self.open(request, n=arguments.whole(n, "n"), progress=progress, **options).draw()

    def trajectory(self, n: int, request: SampleRequest | None = None, **options: Any) -> Iterator[Samples]:
        """The n samples that `sample` draws, in one batch, as they emerge: the noise, then the state after every step,
        decoded.

        Values are divided by sqrt(alpha^2 + sigma^2), so that noise is as bright as data under every schedule.
        """
        return (frame for _, frame in self.open(request, n=arguments.whole(n, "n"), **options).decoded_states())

    def decoded(self, x: Any) -> Samples:
        """States without noise in the data's own units, on the CPU."""
        return self.samples(self.codec.decode(self.denoiser.data_of(x)).cpu())

    def samples(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        classes: Sequence[str] = (),
        captions: Sequence[str] = (),
        **drawn: Any,
    ) -> Samples:
        """The tensor x (n, *shape) in the data's units, with all that it is of but the weights. drawn: how, see
        `Samples`.
        """
        labels = None if labels is None else labels.cpu()
        return Samples.made(x, self.description, labels, classes, captions, **drawn)


def refuse_taken(conditions: Collection[str]) -> None:
    """Raises Refused for a condition with the name of an option of `Generator.sample`."""
    taken = {*options(SampleRequest), *signature(Generator.sample).parameters}
    for name in conditions:
        if name in taken:
            raise Refused(f"a condition cannot be called {name!r}, which is an option of `sample`: rename it")
