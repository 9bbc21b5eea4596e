"""A request opened on an autoregressive run: each value is drawn given those before it."""

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.given import captions, requested
from undiffuse.conditions.label import LABEL
from undiffuse.core.autoregressive import Autoregressive
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.guidance.truncation import truncated
from undiffuse.progress import Progress
from undiffuse.sampling.generator import ANSWERED, Generator, OpenedRequest, refuse_unanswered
from undiffuse.sampling.plan import in_batches, recipe_defaults
from undiffuse.sampling.ranking import best, with_candidates
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.session import several, with_words_read

SAID = ("guidance", "candidates", "temperature", "top_k", "top_p")  # what a recipe may say of it
OPTIONS = (*SAID, "rank", "conditions", "condition_words")  # that it answers besides
AT_ONCE = 2**18  # values of all items that are drawn together: what is kept of each is some kilobytes


@dataclass(frozen=True, eq=False)
class AutoregressiveSession(OpenedRequest):
    """x_i ~ P(x_i given x_1 ... x_{i-1}), value by value, of a request. cond: of the rows, the candidates for one
    sample beside each other. guided: the conditions that guidance drops.

    places, known: (1, *shape), as numbers of levels the values that are given, and booleans (*shape) where they are;
    those that come after a value have no effect on it.
    """

    model: Generator
    autoregressive: Autoregressive
    request: SampleRequest
    cond: Mapping[str, Tensor]
    places: Tensor
    known: Tensor
    guided: tuple[str, ...] = ()
    progress: Progress = False

    @classmethod
    def open(
        cls, model: Generator, autoregressive: Autoregressive, request: SampleRequest, progress: Progress = False
    ) -> Self:
        """Raises Refused for what only a denoiser could answer, and for conditions that the model does not have."""
        why = f" is for runs that draw step by step from noise: {model.what} draws value by value"
        refuse_unanswered(request, (*ANSWERED, *OPTIONS), why)
        request, own = with_words_read(model, request), recipe_defaults(model.recipe)
        request = with_candidates(model, request, own.each)
        cond = requested(model.conditions, request.count, request.conditions, model.device)
        request, guided = _guided(model, request, own.guidance, cond)
        request = replace(request.over(own), candidates=request.candidates, guidance=request.guidance)
        cond = {name: value.repeat_interleave(request.each, 0) for name, value in cond.items()}
        none = torch.zeros(1, *model.shape, dtype=torch.int64, device=model.device)
        return cls(model, autoregressive, request, cond, none, none[0].bool(), guided, progress)

    @property
    def rows(self) -> Tensor:
        """The index of each row."""
        return several(self.which, self.request.each)

    def draw(self) -> Samples:
        """The samples, in as many batches as memory needs."""
        start, n = time.perf_counter(), len(self.rows)
        size = min(n, self.request.batch or max(1, AT_ONCE // math.prod(self.model.shape)))
        made = in_batches(n, size, self._rows, self.progress)
        return self._samples(made[self._best(made)], start)

    def film(self) -> Samples:
        """The same samples with `frames`, what is there after each row; all are drawn together."""
        start, n = time.perf_counter(), len(self.rows)
        first = torch.where(self.known, self.places, 0).expand(n, *self.model.shape)
        frames = [self._decoded(first).numpy()]
        made = self._rows(slice(0, n), lambda places: frames.append(self._decoded(places).numpy()))
        kept = self._best(made)
        return self._samples(made[kept], start, np.stack(frames)[:, kept])

    def _best(self, x: Tensor) -> Any:
        """Where the best of the candidates stand among the rows."""
        return best(self.model, x, self.cond, self.request.each)

    def _rows(self, rows: slice, row: Callable[[Tensor], None] = lambda places: None) -> Tensor:
        which = self.rows[rows]
        drawn = self.autoregressive.draw(
            self.places.expand(len(which), *self.model.shape),
            self.known,
            Random(self.request.seed, which),
            partial(truncated, **self.request.truncation),
            row,
            weight=1.0 if not self.guided else float(self.request.guidance or 1.0),  # type: ignore[arg-type]
            drop={name: torch.ones(len(which), dtype=torch.bool, device=self.places.device) for name in self.guided},
            **{name: value[rows] for name, value in self.cond.items()},
        )
        return self._decoded(drawn)

    def _decoded(self, places: Tensor) -> Tensor:
        return self.model.codec.decode(self.autoregressive.levels.values(places)).cpu()

    def _samples(self, x: Tensor, start: float, frames: np.ndarray | None = None) -> Samples:
        labels, walks = self.cond.get(LABEL), 2 if self.guided else 1
        return self.model.samples(
            x,
            None if labels is None else labels[:: self.request.each],
            self.model.classes,
            captions(self.model.conditions, self.request.conditions),
            request=self.request,
            calls=float(int((~self.known).sum()) * walks * self.request.each),
            seconds=time.perf_counter() - start,
            frames=frames,
        )


def _guided(
    model: Generator, request: SampleRequest, usual: Any, given: Mapping[str, Tensor]
) -> tuple[SampleRequest, tuple[str, ...]]:
    """The request with its weight of guidance, or the usual one where there is something to guide to, and the
    conditions that are guided to.

    Raises Refused for a weight by names, and for one where no condition that training dropped is given.
    """
    to = tuple(name for name in given if model.conditions[name].drop > 0)
    weight = usual if request.guidance is None and to else request.guidance
    if isinstance(weight, Mapping):
        raise Refused(f"guidance of {model.what} is one number, of all its conditions")
    if weight in (None, 1):
        return replace(request, guidance=None), ()
    if not to:
        raise Refused(
            f"guidance = {weight:g} needs a condition that training dropped now and then (conditions.NAME.drop), and "
            f"samples of it; dropped were {', '.join(n for n, c in model.conditions.items() if c.drop > 0) or 'none'}"
        )
    return replace(request, guidance=float(weight)), to


class CompletingGenerator(Generator):
    """A run that draws value by value, and so completes an item of which some are given."""

    completes: ClassVar[bool] = True

    @abstractmethod
    def open(
        self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any
    ) -> AutoregressiveSession:
        """A request to this run, opened; see `sample`."""
