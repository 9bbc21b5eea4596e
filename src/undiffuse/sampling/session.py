"""A session: a request opened on a model, and the states and samples that come out of it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.conditions.from_data import completed
from undiffuse.conditions.given import augmented, captions, from_words, requested
from undiffuse.conditions.label import LABEL
from undiffuse.core import devices, named_parts
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.progress import Progress
from undiffuse.sampling.classifier_guidance import classifier_guided
from undiffuse.sampling.controls import controlled
from undiffuse.sampling.denoising_run import DenoisingRun
from undiffuse.sampling.generator import Generator, OpenedRequest
from undiffuse.sampling.guidance import guide, refuse_idle, resolve_guidance
from undiffuse.sampling.plan import batches, plan, recipe_defaults, shown
from undiffuse.sampling.ranking import best, with_candidates
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.stored_plan import chosen
from undiffuse.storage.notes import CLOUD

AUGMENTATION = -2  # its stream of random numbers: -1 is the prior's, 0 and on are the steps'


@dataclass(frozen=True)
class State:
    """Where sampling is: after `step` of `steps` the states x, (rows, *state shape), are at time t."""

    step: int
    steps: int
    t: float
    x: Any


@dataclass(frozen=True, eq=False)
class Session(OpenedRequest):
    """A request opened on a model: yields the `State`s of all its samples at once; `draw` goes on to the samples.

    request: with the guidance that it came to. indices: of the rows, the candidates for one sample beside each other.
    denoiser: the model's, guided. times: (steps + 1,). cond: of the rows. start: first states, of each row or one for
    all, instead of noise. shape: of a state, where it is not the
    model's own. particles: rows that make one candidate, whose first is it. tuned: what there is to say of a plan that
    was tuned for the model, see `chosen`. What edits a sample replaces denoiser, sampler, times, start, shape or
    particles.
    """

    model: DenoisingRun
    request: SampleRequest
    indices: Tensor
    denoiser: Denoiser
    sampler: Sampler
    times: Tensor
    cond: Mapping[str, Tensor]
    shape: tuple[int, ...] | None = None
    start: Tensor | None = None
    particles: int = 1
    progress: Progress = False
    tuned: str = ""

    @classmethod
    def open(cls, model: DenoisingRun, request: SampleRequest, progress: Progress = False) -> Self:
        """Raises Refused for what the model cannot do, and for conditions and guidance that it was not trained for."""
        request = with_runs_of_recipe(model, with_words_read(model, request))
        if request.stages:
            raise Refused("stages are of a chain, and this run is none: ask for the same without a stage's name")
        refuse_idle(request)
        request = with_candidates(model, request, recipe_defaults(model.recipe).each)
        n, each = request.count, request.each
        sampler, times = plan(model.recipe, model.denoiser, request)
        tuned = ""
        if request.classifier is not None:
            request, denoiser, sampler, cond = classifier_guided(model, request, sampler, times, n)
        else:
            cond = requested(model.conditions, n, request.conditions, model.device)
            cond = completed(model.codec, model.conditions, cond)
            guided = resolve_guidance(model, request, cond)
            stored, tuned = chosen(model.plans, request, guided, len(times) - 1)
            sampler, times = stored.opened() if stored else (sampler, times)
            request, denoiser = guided, guide(model, guided)
        if request.control:
            sampler = controlled(model, sampler, request.control, request.control_weight)
        which = torch.arange(n) if request.indices is None else torch.tensor(request.indices, dtype=torch.int64)
        level = recipe_defaults(model.recipe).augmentation if request.augmentation is None else request.augmentation
        cond = augmented(model.conditions, cond, level or 0.0, Random(request.seed, which).fold(AUGMENTATION))
        cond = {name: value.repeat_interleave(each, 0) for name, value in cond.items()} if each > 1 else cond
        return cls(model, request, several(which, each), denoiser, sampler, times, cond, progress=progress, tuned=tuned)

    def untuned(self) -> Self:
        """The same without a plan that was tuned for whole samples: what edits one takes parts of its times."""
        sampler, times = plan(self.model.recipe, self.model.denoiser, self.request)
        return replace(self, sampler=sampler, times=times, tuned="") if self.tuned else self

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    @property
    def n(self) -> int:
        """How many samples."""
        return self.request.count

    @property
    def random(self) -> Random:
        """The noise of the rows."""
        return Random(self.request.seed, self.indices)

    @torch.no_grad()
    def __iter__(self) -> Iterator[State]:
        """The states of all rows in one batch: the noise, then after every step."""
        each = self.particles
        random = Random(self.request.seed, several(self.indices, each))
        if self.start is None:
            rows, own = len(self.indices) * each, self.model.denoiser.state_shape
            shape = own((rows, *self.model.shape)) if self.shape is None else (rows, *self.shape)
            prior = self.model.denoiser.process.prior(shape, self.times[0])
            first = named_parts.to(prior.sample(random.fold(-1)), self.model.device)
        else:
            first = self.start.expand(len(self.indices), *self.start.shape[1:]).repeat_interleave(each, 0)
        cond = {name: value.repeat_interleave(each, 0) for name, value in self.cond.items()}
        states = trajectory(self.denoiser, self.sampler, first, self.times, random=random, **cond)
        for i, (t, x) in enumerate(zip(self.times.tolist(), chain([first], states), strict=True)):
            yield State(i, self.steps, t, x if each == 1 else x[::each])

    def draw(self) -> Samples:
        """The samples, in as many batches as memory needs."""
        with self.measured() as cost:
            x = self.best(self._batched(self.model.decoded))
        return self._samples(x, cost)

    def solid(self) -> Samples:
        if CLOUD not in self.model.facts.get("data", {}):
            return super().solid()
        if self.n > 1:
            raise Refused(f"a .ply or .obj file holds one cloud, not {self.n}: ask for -n 1, or for all as .npy")
        return self.draw()

    def film(self) -> Samples:
        """The same samples with `frames`, every state on the way from noise; all are drawn together."""
        with self.measured() as cost, shown(self.progress, self.steps) as report:
            frames: list[Tensor] = []
            for state, frame in self._shown_states():
                frames.append(frame)
                report(state.step)
        kept = self._best(frames[-1])
        return self._samples(frames[-1][kept], cost, np.stack([frame[kept].numpy() for frame in frames]))

    def decoded_states(self) -> Iterator[tuple[State, Samples]]:
        """The states, each with what it shows: decoded, values divided by sqrt(alpha^2 + sigma^2), so that noise is as
        bright as data under every schedule. Raises Refused for candidates: only finished samples can be ranked.
        """
        if self.request.each > 1:
            raise Refused(
                f"candidates = {self.request.each} are finished samples: which way from noise is kept shows at its end"
            )
        yield from self._shown_states()

    def _shown_states(self) -> Iterator[tuple[State, Samples]]:
        """`decoded_states` of all rows."""
        for state in self:
            shown = self.model.denoiser.process.shown(state.x, self.times[state.step])
            yield state, self.model.decoded(shown, self.cond)

    def encoded(self) -> Tensor:
        """The last states of all rows, encoded."""
        return self._batched(lambda z, cond: z)

    def decoded(self, z: Any) -> Tensor:
        """Last states of all rows as samples in the data's own units, on the CPU."""
        return self.best(self.model.decoded(z, self.cond))

    def best(self, x: Tensor) -> Tensor:
        """Of several candidates for each sample the best."""
        return x[self._best(x)]

    def _best(self, x: Tensor) -> Any:
        """Where these stand among the rows."""
        return best(self.model, x, self.cond, self.request.each)

    def _batched(self, finish: Callable[[Any, Mapping[str, Tensor]], Tensor]) -> Tensor:
        """What `finish` makes of the last states and conditions, batch after batch; halved where memory runs out."""
        usual = batches(self.model.shape, self.model.codec.vocabulary)
        share = math.prod(self.model.shape) / math.prod(self.shape or self.model.shape) / self.particles
        size = min(len(self.indices), self.request.batch or max(1, int(usual * share)))
        drawn: list[Tensor] = []
        done = 0
        with shown(self.progress, len(self.indices) * self.steps) as report:
            while done < len(self.indices):
                part = self._rows(slice(done, done + size))
                try:
                    drawn.append(finish(part._last(report, done * self.steps), part.cond))
                except RuntimeError as error:
                    if size == 1 or not devices.out_of_memory(error):
                        raise
                    size = -(-size // 2)
                else:
                    done += len(part.indices)
        return torch.cat(drawn)

    def _rows(self, rows: slice) -> Self:
        start = self.start if self.start is None or len(self.start) == 1 else self.start[rows]
        cond = {name: value[rows] for name, value in self.cond.items()}
        return replace(self, indices=self.indices[rows], cond=cond, start=start)

    def _last(self, report: Callable[[int], None], before: int) -> Any:
        """The last states; tells how many steps of one row were taken."""
        last: State | None = None
        for last in self:
            if last.step:
                report(before + last.step * len(self.indices))
        assert last is not None
        return last.x

    def _samples(self, x: Tensor, cost: list[float], frames: np.ndarray | None = None) -> Samples:
        """The samples, with what they are of and what they cost."""
        labels, leads = self.cond.get(LABEL), self.request.classifier
        return self.model.samples(
            x,
            None if labels is None else labels[:: self.request.each],
            self.model.classes if leads is None or LABEL not in leads.conditions else leads.classes,
            captions({**({} if leads is None else leads.conditions), **self.model.conditions}, self.request.conditions),
            request=self.request,
            calls=cost[0],
            seconds=cost[1],
            frames=frames,
            tuned=self.tuned,
        )

    @contextmanager
    def measured(self) -> Iterator[list[float]]:
        """Fills the yielded list with network calls a sample and seconds, once the work is done."""
        rows = 0

        def count(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            nonlocal rows
            rows += len(inputs[0])

        cost: list[float] = []
        hook = self.model.denoiser.network.register_forward_pre_hook(count)
        start = time.perf_counter()
        try:
            yield cost
        finally:
            hook.remove()
        cost += [rows / self.n, time.perf_counter() - start]


def labels_in_turn(model: Generator, request: SampleRequest) -> SampleRequest:
    """The request with classes in turn where none is asked for, of a model or a classifier that knows some: the first,
    the next ... and again, so that the class of a sample depends on its index only.
    """
    request = with_runs_of_recipe(model, with_words_read(model, request))
    led: Any = model if request.classifier is None else request.classifier
    if request.conditions.get(LABEL) is not None or LABEL not in led.conditions:
        return request
    which = np.arange(request.count) if request.indices is None else np.array(request.indices)
    return replace(request, conditions={**request.conditions, LABEL: np.array(led.classes)[which % len(led.classes)]})


def with_runs_of_recipe(model: Generator, request: SampleRequest) -> SampleRequest:
    """The request with the runs that the recipe guides by: a classifier where what it reads is asked for, a weaker
    run.
    """
    own, leads = recipe_defaults(model.recipe), request.classifier
    if leads is None and own.classifier is not None:
        asked = any(request.conditions.get(name) is not None for name in own.classifier.conditions)
        leads = own.classifier if asked else None
    return replace(request, classifier=leads, weaker=own.weaker if request.weaker is None else request.weaker)


def with_words_read(model: Generator, request: SampleRequest) -> SampleRequest:
    """The request with the conditions that its words ask for, of the model or of what guides it."""
    if not request.condition_words:
        return request
    leads: Any = request.classifier or recipe_defaults(model.recipe).classifier
    known = {**({} if leads is None else leads.conditions), **model.askable}
    free = [pair for pair in request.condition_words if pair[0] == LABEL and LABEL not in model.conditions]
    found = from_words(known, [pair for pair in request.condition_words if pair not in free])
    found |= dict(free)  # a classifier's, or refused
    return replace(request, conditions={**request.conditions, **found}, condition_words=())


def several(rows: Tensor, each: int) -> Tensor:
    """The indices of so many rows for each one, beside each other."""
    return rows if each == 1 else (rows[:, None] * each + torch.arange(each)).reshape(-1)
