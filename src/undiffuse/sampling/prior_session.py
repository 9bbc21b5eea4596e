"""A request opened on a run whose latents have a prior: a draw from it, decoded once, is a sample."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.conditions.given import captions, requested
from undiffuse.conditions.label import LABEL
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.progress import Progress
from undiffuse.sampling.generator import ANSWERED, Generator, OpenedRequest, refuse_unanswered
from undiffuse.sampling.plan import batches, in_batches
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.session import with_words_read


@dataclass(frozen=True, eq=False)
class PriorSession(OpenedRequest):
    """z ~ p(z), x = decode(z given cond), of a request. shape: of an item's latents. decode: to items in the data's
    units, given their conditions by name. cond: of the rows.
    """

    model: Generator
    request: SampleRequest
    shape: tuple[int, ...]
    decode: Callable[..., Tensor]
    cond: Mapping[str, Tensor]
    progress: Progress = False

    @classmethod
    def open(
        cls,
        model: Generator,
        request: SampleRequest,
        shape: tuple[int, ...],
        decode: Callable[..., Tensor],
        progress: Progress = False,
    ) -> Self:
        """Raises Refused for what only a sampler of steps could answer, and for conditions that there are not."""
        more = ("conditions", "condition_words") if model.conditions else ()
        without = "steps" if model.conditions else "steps and conditions"
        once = f": {model.what} draws z ~ N(0, 1) and decodes it once, without {without}"
        refuse_unanswered(request, (*ANSWERED, *more), once)
        request = with_words_read(model, request)
        cond = requested(model.conditions, request.count, request.conditions, model.device)
        return cls(model, request, shape, decode, cond, progress)

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
        made = in_batches(len(z), size, lambda rows: self.decode(z[rows], **self._told(rows)), self.progress)
        return self.model.samples(
            made,
            self.cond.get(LABEL),
            self.model.classes,
            captions(self.model.conditions, self.request.conditions),
            request=self.request,
            calls=1.0,
            seconds=time.perf_counter() - start,
        )

    def _told(self, rows: slice) -> dict[str, Tensor]:
        return {name: value[rows] for name, value in self.cond.items()}

    def film(self) -> Any:
        """Raises Refused: there is no way from noise to data to show."""
        raise Refused(f"{self.model.what} draws at once: there is no way from noise to sample to show")
