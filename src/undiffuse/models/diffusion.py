"""Diffusion: a denoiser, the codec at its edges, and the recipe that made them; draws samples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.words import needs
from undiffuse.core import arguments, devices, families, registry
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.evaluation.evaluate import evaluate_run
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.recipes import build
from undiffuse.recipes.denoiser_settings import denoiser_settings
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.settings import Condition
from undiffuse.reports import report
from undiffuse.reports.preview import preview
from undiffuse.sampling.classifier_guidance import towards
from undiffuse.sampling.conditions import captions, requested
from undiffuse.sampling.controls import WEIGHT, Control, controlled
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.guidance import guide
from undiffuse.sampling.plan import Plan, Progress, Reporting, at_once, plan, sampling, shown
from undiffuse.sampling.run import EvaluationRequest, Run
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.steering import Steering, refuse_unfit


@dataclass(frozen=True, eq=False, repr=False)
class Diffusion(Generator):
    """A trained denoiser with its codec: draws samples in the data's own units. Fields: see `Generator`."""

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "schedule", "network", "objective", "train"), True),
        **dict.fromkeys(("process", "parameterization", "init", "denoiser", "conditions", "sampler"), False),
    }
    what: ClassVar[str] = "a model of samples"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run}`"
    writes: ClassVar[tuple[str, ...]] = report.FILES

    denoiser: Predictor
    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    classes: tuple[str, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, Condition]) -> None:
        drawing = sampling(recipe)
        if drawing.sampler is not None:
            families.check(drawing.sampler, build.process(recipe))
        codec = registry.build("codecs", recipe["codec"], runs=recipe.uses.of("codec"))
        refuse_unfit(drawing, codec, bool(denoiser_settings(recipe).embedding))

    @classmethod
    def network_takes(cls, classes: int, conditions: Mapping[str, Condition]) -> tuple[int, Mapping[str, Condition]]:
        return classes, conditions

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        shape: tuple[int, ...],
        classes: int,
        codec: Codec,
        conditions: Mapping[str, Condition],
    ) -> nn.Module:
        return build.predictor(recipe, shape, classes, codec, conditions)

    @classmethod
    def of(cls, module: Any, about: Description) -> Self:
        if "variance" in about.facts:
            _check_variance(module, about.facts["variance"])
        return cls(module, about.codec, about.shape, about.recipe, about.classes, about.conditions, about.facts)

    def attempt(self) -> None:
        shape = self.denoiser.state_shape((1, *self.shape))
        self.denoiser(to(self.denoiser.process.prior(shape).sample(Random(0)), self.device), 1.0)

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
        return preview(self, x, conditions, count)

    def evaluate(self, asked: EvaluationRequest) -> report.Report:
        return report.Report(evaluate_run(self, asked))

    def about(self) -> dict[str, str]:
        return {"conditions": "\n".join(needs(self))} if self.conditions else {}

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        grid: Grid | str | None = None,
        guidance: float | Mapping[str, float] | None = None,
        interval: tuple[float, float] | None = None,
        rescale: float | None = None,
        threshold: str | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        classifier: Run | None = None,
        form: str = "guess",
        control: "str | Control | Sequence[str | Control] | None" = None,
        control_weight: float = WEIGHT,
        batch: int | None = None,
        indices: Sequence[int] | Tensor | None = None,
        progress: Progress = False,
        **cond: Any,
    ) -> Samples:
        """Draw n samples: (n, *shape) in the data's dtype and range, on the CPU; see `Samples`.

        Sample i depends on (seed, i) only, whatever the batch. sampler, steps, grid, and guidance to top_p, see
        `Steering`: as the recipe says, unless given.
        batch: at most so many at once (default: what fits memory; halved where it does not). indices: which samples,
        default 0 ... n-1.
        label, and other conditions by their names: a class (number or name), a text, numbers (d,) or an image
        (channels, height, width) of any size, or n of them; left out: samples of any.
        classifier: a run that tells classes; the label is its class then and not told to the model, guidance its
        weight (1) and form how it moves a step: "guess", or "mean" of stochastic samplers.
        control: what texts of embeddings should be, see `controlled`; control_weight: how much fluency counts against
        it.
        progress: show a bar, or call progress(done, total), in steps of one sample.
        Raises Refused for counts and steps below 1, unknown classes and conditions, and for guidance that the model
        was not trained for.
        """
        chosen = plan(self.recipe, self.denoiser.process, sampler, steps, grid)
        steering = Steering(guidance, interval, rescale, threshold, temperature, top_k, top_p)
        n, seed, which = _drawn(n, seed, indices)
        guided, chosen, given = self._towards(n, cond, chosen, steering, classifier, form)
        chosen = chosen if control is None else controlled(self, chosen, control, control_weight)
        if batch is not None and arguments.whole(batch, "batch") < 1:
            raise Refused(f"batch must be at least 1, not {batch}")
        size = min(n, batch or at_once(self))
        drawn: list[Tensor] = []
        with shown(progress, n * chosen.steps) as report:
            while (done := sum(map(len, drawn))) < n:
                rows = slice(done, done + size)
                part = {name: value[rows] for name, value in given.items()}
                try:
                    drawn.append(
                        self._draw(
                            guided, chosen, which[rows], seed, part, partial(_report, report, done * chosen.steps)
                        )
                    )
                except RuntimeError as error:
                    if size == 1 or not devices.out_of_memory(error):
                        raise
                    size = -(-size // 2)
        classes = self.classes if classifier is None else classifier.classes
        return self.samples(torch.cat(drawn), given.get("label"), classes, captions(self.conditions, cond))

    @torch.no_grad()
    def trajectory(
        self,
        n: int,
        *,
        seed: int = 0,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        grid: Grid | str | None = None,
        guidance: float | Mapping[str, float] | None = None,
        interval: tuple[float, float] | None = None,
        rescale: float | None = None,
        threshold: str | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        classifier: Run | None = None,
        form: str = "guess",
        control: "str | Control | Sequence[str | Control] | None" = None,
        control_weight: float = WEIGHT,
        indices: Sequence[int] | Tensor | None = None,
        **cond: Any,
    ) -> Iterator[Samples]:
        """The n samples that `sample` draws, in one batch, as they emerge: the noise, then the state after every step,
        decoded.

        Values are divided by sqrt(alpha^2 + sigma^2), so that noise is as bright as data under every schedule.
        """
        chosen = plan(self.recipe, self.denoiser.process, sampler, steps, grid)
        steering = Steering(guidance, interval, rescale, threshold, temperature, top_k, top_p)
        n, seed, which = _drawn(n, seed, indices)
        guided, chosen, given = self._towards(n, cond, chosen, steering, classifier, form)
        chosen = chosen if control is None else controlled(self, chosen, control, control_weight)
        random = Random(seed, which)
        process = self.denoiser.process
        shape = self.denoiser.state_shape((n, *self.shape))
        start = to(process.prior(shape, chosen.times[0]).sample(random.fold(-1)), self.device)
        states = trajectory(guided, chosen.sampler, start, chosen.times, random=random, **given)
        for t, x in zip(chosen.times, chain([start], states), strict=True):
            yield self.decoded(process.shown(x, t))

    @property
    def module(self) -> nn.Module:
        return self.denoiser

    def _draw(
        self,
        guided: Denoiser,
        chosen: Plan,
        which: Tensor,
        seed: int,
        given: Mapping[str, Tensor],
        stepped: Callable[[int], None],
    ) -> Tensor:
        """One batch, decoded; `stepped` hears how many steps of one sample are done after each step."""
        watched = Reporting(chosen.sampler, partial(_count, stepped, len(which), count(1)))
        told: dict[str, Any] = dict(given)
        shape = self.denoiser.state_shape((len(which), *self.shape))
        z = sample(guided, shape, sampler=watched, times=chosen.times, seed=seed, indices=which, **told)
        return self.decoded(z)

    def _towards(
        self,
        n: int,
        cond: Mapping[str, Any],
        chosen: Plan,
        steering: Steering,
        classifier: Run | None,
        form: str,
    ) -> tuple[Denoiser, Plan, dict[str, Tensor]]:
        """What to sample with, on which plan, told what."""
        if classifier is not None:
            return towards(self, classifier, form, steering, chosen, n, cond)
        given = requested(self, n, cond)
        return guide(self, steering, given), chosen, given


def _check_variance(denoiser: Denoiser, said: Any) -> None:
    """Raises Refused unless this is what `OptimalVariance` takes."""
    if not isinstance(said, dict):
        raise Refused("the run is broken: its description lacks or spoils 'variance'")
    try:
        fields = registry.check(OptimalVariance, said, owner="its variance")
        OptimalVariance(**{"denoiser": denoiser, "times": (), "variances": (), **fields})
    except Refused as error:
        raise Refused(f"the run is broken: {error}") from None


def _drawn(n: Any, seed: Any, indices: Any) -> tuple[int, int, Tensor]:
    """How many samples, of which seed, and which; raises Refused for what is no whole number."""
    if (count := arguments.whole(n, "n")) < 1:
        raise Refused(f"the number of samples must be at least 1, not {count}")
    arguments.whole(count, "n", 1, arguments.INDICES)
    which = torch.arange(count) if indices is None else arguments.indices(indices, count)
    return count, arguments.seed(seed), which


def _report(report: Callable[[int], None], before: int, done: int) -> None:
    report(before + done)


def _count(stepped: Callable[[int], None], rows: int, steps: Iterator[int]) -> None:
    stepped(rows * next(steps))
