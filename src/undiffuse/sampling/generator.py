"""A run that draws samples."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Predictor
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
    def sample(self, n: int, **options: Any) -> Samples:
        """Draw n samples: (n, *shape) in the data's dtype and range, on the CPU; see `Samples`."""

    @abstractmethod
    def trajectory(self, n: int, **options: Any) -> Iterator[Samples]:
        """The n samples that `sample` draws, in one batch, as they emerge: the noise, then the state after every step,
        decoded.
        """

    def decoded(self, x: Any) -> Samples:
        """States without noise in the data's own units, on the CPU."""
        return self.samples(self.codec.decode(self.denoiser.data_of(x)).cpu())

    def samples(
        self, x: Tensor, labels: Tensor | None = None, classes: Sequence[str] = (), captions: Sequence[str] = ()
    ) -> Samples:
        """The tensor x (n, *shape) in the data's units, with all that it is of but the weights."""
        return Samples.made(x, self.description, None if labels is None else labels.cpu(), classes, captions)
