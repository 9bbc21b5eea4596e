"""What a run folder holds: a denoiser, the codec at its edges, and the recipe that made them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from undiffuse.codecs.codec import Codec
from undiffuse.core import arguments, devices
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.heads.column_predictor import ColumnPredictor
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.models.description import Description
from undiffuse.models.run import FILE as FILE
from undiffuse.models.run import SUMMARY as SUMMARY
from undiffuse.models.run import Saved, opened
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.settings import Condition
from undiffuse.sampling.classifier_guidance import towards
from undiffuse.sampling.conditions import captions, requested
from undiffuse.sampling.controls import WEIGHT, Control, controlled
from undiffuse.sampling.guidance import guide
from undiffuse.sampling.plan import Plan, Progress, Reporting, at_once, plan, shown
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.steering import Steering

if TYPE_CHECKING:
    from undiffuse.models.classifier import LabelModel


@dataclass(frozen=True, eq=False, repr=False)
class Model(Saved):
    """A trained denoiser with its codec: draws samples in the data's own units.

    shape: of one encoded sample, channels first. classes: names of the labels. conditions: what the network is told,
    by name.
    facts: the step, the data's summary, library versions ... in JSON's types.
    variance: the fields of `OptimalVariance` but its denoiser, where they were tuned: the variance "exact" of samplers.
    """

    denoiser: Predictor | ColumnPredictor
    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    classes: tuple[str, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    variance: Mapping[str, Any] = field(default_factory=dict)

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
        classifier: "LabelModel | None" = None,
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
        classifier: of `load_classifier`; the label is its class then and not told to the model, guidance its weight (1)
        and form how it moves a step: "guess", or "mean" of stochastic samplers.
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
        classifier: "LabelModel | None" = None,
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
        shape = (n, *self.denoiser.state_shape(self.shape))
        start = process.prior(shape, chosen.times[0]).sample(random.fold(-1)).to(self.device)
        states = trajectory(guided, chosen.sampler, start, chosen.times, random=random, **given)
        for t, x in zip(chosen.times, chain([start], states), strict=True):
            yield self.decoded(process.shown(x, t))

    def decoded(self, x: Tensor) -> Samples:
        """States without noise in the data's own units, on the CPU."""
        return self.samples(self.codec.decode(self.denoiser.data_of(x)).cpu())

    def samples(
        self, x: Tensor, labels: Tensor | None = None, classes: Sequence[str] = (), captions: Sequence[str] = ()
    ) -> Samples:
        """The tensor x (n, *shape) in the data's units, with all that it is of but the weights."""
        about = {name: getattr(self, name) for name in Description.__dataclass_fields__}
        return Samples.made(x, Description(**about), None if labels is None else labels.cpu(), classes, captions)

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
        shape = (len(which), *self.denoiser.state_shape(self.shape))
        z = sample(guided, shape, sampler=watched, times=chosen.times, seed=seed, indices=which, **told)
        return self.decoded(z)

    def _towards(
        self,
        n: int,
        cond: Mapping[str, Any],
        chosen: Plan,
        steering: Steering,
        classifier: "LabelModel | None",
        form: str,
    ) -> tuple[Denoiser, Plan, dict[str, Tensor]]:
        """What to sample with, on which plan, told what."""
        if classifier is not None:
            return towards(self, classifier, form, steering, chosen, n, cond)
        given = requested(self, n, cond)
        return guide(self, steering, given), chosen, given


def load(path: Path | str, precision: str = "auto", device: torch.device | str | None = None) -> Model:
    """The model of a run folder, with the averaged weights, ready to sample.

    precision: "auto" (bfloat16 where the hardware multiplies it and the network has convolutions), "float32" or
    "bfloat16".
    device: default a GPU where there is one. Runs no code from the folder, and takes memory only once the file is known
    to hold what its recipe's network needs. Raises Refused if there is no whole model, and no such device.
    """
    where = devices.device(device)
    module, said = opened(path, classifier=False)
    denoiser: Any = module
    model = Model(denoiser, **vars(said))
    return model.to(precision, where)


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
