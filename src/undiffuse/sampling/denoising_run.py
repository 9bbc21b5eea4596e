"""A run with a denoiser: what guidance, controls and sessions need of it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.denoiser import Predictor
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.stored_plan import StoredPlan, stored


class DenoisingRun(Generator):
    """A generator that draws with a denoiser.

    denoiser: what it draws with. variance: the fields of `OptimalVariance` but its denoiser, where they were tuned:
    the variance "exact" of samplers. plans: those that were tuned for it, by their steps.
    """

    denoises: ClassVar[bool] = True

    @property
    def denoiser(self) -> Predictor:
        return self.module

    @property
    def variance(self) -> Mapping[str, Any]:
        return self.facts.get("variance", {})

    @property
    def plans(self) -> Mapping[int, StoredPlan]:
        return stored(self.facts)

    def decoded(self, x: Any, cond: Mapping[str, Tensor]) -> Samples:
        """States without noise, of samples with these conditions, in the data's own units, on the CPU."""
        found = self.codec.decode(self.denoiser.data_of(x), **self.codec.told(cond)).cpu()
        for name in cond.keys() & self.conditions.keys():
            found = self.conditions[name].finished(found, cond[name])
        return self.samples(found)
