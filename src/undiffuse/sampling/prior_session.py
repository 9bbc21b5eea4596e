"""A request opened on a run whose latents have a prior: a draw from it, decoded once, is a sample."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.progress import Progress
from undiffuse.sampling.generator import ANSWERED, Generator, OpenedRequest, refuse_unanswered
from undiffuse.sampling.plan import batches, in_batches
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples


@dataclass(frozen=True, eq=False)
class PriorSession(OpenedRequest):
    """z ~ p(z), x = decode(z), of a request. shape: of an item's latents. decode: to items in the data's units."""

    model: Generator
    request: SampleRequest
    shape: tuple[int, ...]
    decode: Callable[[Tensor], Tensor]
    progress: Progress = False

    @classmethod
    def open(
        cls,
        model: Generator,
        request: SampleRequest,
        shape: tuple[int, ...],
        decode: Callable[[Tensor], Tensor],
        progress: Progress = False,
    ) -> Self:
        """Raises Refused for what only a sampler of steps, or a condition, could answer."""
        once = f": {model.what} draws z ~ N(0, 1) and decodes it once, without steps and conditions"
        refuse_unanswered(request, ANSWERED, once)
        return cls(model, request, shape, decode, progress)

    @property
    def latents(self) -> Tensor:
        """The draws from the prior, (n, *shape): sample i depends on the seed and on i alone."""
        which = self.which
        like = torch.zeros(len(which), *self.shape, dtype=torch.float32)
        return Normal(like, torch.ones_like(like)).sample(Random(self.request.seed, which))

    def draw(self) -> Samples:
        """The samples, in as many batches as memory needs."""
        start, z = time.perf_counter(), self.latents
        size = min(len(z), self.request.batch or batches(self.model.shape))
        made = in_batches(len(z), size, lambda rows: self.decode(z[rows]), self.progress)
        return self.model.samples(made, request=self.request, calls=1.0, seconds=time.perf_counter() - start)

    def film(self) -> Any:
        """Raises Refused: there is no way from noise to data to show."""
        raise Refused(f"{self.model.what} draws at once: there is no way from noise to sample to show")
