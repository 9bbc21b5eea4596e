"""A request opened on an autoregressive run: each value is drawn given those before it."""

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.given import captions, requested
from undiffuse.conditions.label import LABEL
from undiffuse.core.autoregressive import Autoregressive
from undiffuse.core.random import Random
from undiffuse.guidance.truncation import truncated
from undiffuse.progress import Progress
from undiffuse.sampling.generator import ANSWERED, Generator, OpenedRequest, refuse_unanswered
from undiffuse.sampling.plan import in_batches
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.session import with_words_read

OPTIONS = ("temperature", "top_k", "top_p", "conditions", "condition_words")  # that it answers besides
AT_ONCE = 2**18  # values of all items that are drawn together: what is kept of each is some kilobytes


@dataclass(frozen=True, eq=False)
class AutoregressiveSession(OpenedRequest):
    """x_i ~ P(x_i given x_1 ... x_{i-1}), value by value, of a request. cond: of the rows.

    places, known: (1, *shape), as numbers of levels the values that are given, and booleans (*shape) where they are;
    those that come after a value have no effect on it.
    """

    model: Generator
    autoregressive: Autoregressive
    request: SampleRequest
    cond: Mapping[str, Tensor]
    places: Tensor
    known: Tensor
    progress: Progress = False

    @classmethod
    def open(
        cls, model: Generator, autoregressive: Autoregressive, request: SampleRequest, progress: Progress = False
    ) -> Self:
        """Raises Refused for what only a denoiser could answer, and for conditions that the model does not have."""
        why = f" is for runs that draw step by step from noise: {model.what} draws value by value"
        refuse_unanswered(request, (*ANSWERED, *OPTIONS), why)
        request = with_words_read(model, request)
        cond = requested(model.conditions, request.count, request.conditions, model.device)
        none = torch.zeros(1, *model.shape, dtype=torch.int64, device=model.device)
        return cls(model, autoregressive, request, cond, none, none[0].bool(), progress)

    def draw(self) -> Samples:
        """The samples, in as many batches as memory needs."""
        start, n = time.perf_counter(), self.request.count
        size = min(n, self.request.batch or max(1, AT_ONCE // math.prod(self.model.shape)))
        return self._samples(in_batches(n, size, self._rows, self.progress), start)

    def film(self) -> Samples:
        """The same samples with `frames`, what is there after each row; all are drawn together."""
        start, n = time.perf_counter(), self.request.count
        first = torch.where(self.known, self.places, 0).expand(n, *self.model.shape)
        frames = [self._decoded(first).numpy()]
        made = self._rows(slice(0, n), lambda places: frames.append(self._decoded(places).numpy()))
        return self._samples(made, start, np.stack(frames))

    def _rows(self, rows: slice, row: Callable[[Tensor], None] = lambda places: None) -> Tensor:
        which = self.which[rows]
        drawn = self.autoregressive.draw(
            self.places.expand(len(which), *self.model.shape),
            self.known,
            Random(self.request.seed, which),
            partial(truncated, **self.request.truncation),
            row,
            **{name: value[rows] for name, value in self.cond.items()},
        )
        return self._decoded(drawn)

    def _decoded(self, places: Tensor) -> Tensor:
        return self.model.codec.decode(self.autoregressive.levels.values(places)).cpu()

    def _samples(self, x: Tensor, start: float, frames: np.ndarray | None = None) -> Samples:
        return self.model.samples(
            x,
            self.cond.get(LABEL),
            self.model.classes,
            captions(self.model.conditions, self.request.conditions),
            request=self.request,
            calls=float(int((~self.known).sum())),
            seconds=time.perf_counter() - start,
            frames=frames,
        )


class CompletingGenerator(Generator):
    """A run that draws value by value, and so completes an item of which some are given."""

    completes: ClassVar[bool] = True

    @abstractmethod
    def open(
        self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any
    ) -> AutoregressiveSession:
        """A request to this run, opened; see `sample`."""
