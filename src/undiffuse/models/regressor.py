"""A regressor: tells numbers or the class of clean or noisy items."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.codecs.codec import as_dtype
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.from_data import tensors
from undiffuse.conditions.label import refuse_few
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.folded_predictor import FoldedPredictor
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.item_reader import ItemReader
from undiffuse.core.random import Random
from undiffuse.data.predictive import PREDICTS
from undiffuse.evaluation.record import EVALUATION, Recorded, written
from undiffuse.progress import progress_bar
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling import items
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.plan import batches
from undiffuse.sampling.run import Run

if TYPE_CHECKING:
    from undiffuse.data.dataset import Dataset

COUNT = 2000  # items that an evaluation reads at most
TIMES = (0.0, 0.25, 0.5, 0.75)  # of noisy items; the first is clean


@dataclass(frozen=True)
class ItemScores(Recorded):
    """How well items are read at each noise level. name: "accuracy" of classes, "r2" of numbers: 1 - error/variance."""

    name: str
    times: tuple[float, ...]
    held_out: list[float]
    train: list[float]

    def printed(self) -> Iterator[Any]:
        for t, unseen, seen in zip(self.times, self.held_out, self.train, strict=True):
            yield f"{self.name} at t = {t:g}: {unseen:.3f} of held-out items, {seen:.3f} of training items"
        yield from self.warnings()


class Regressor(Run, ItemReader):
    """A trained reader of items with its codec. Fields: see `Run`; the one condition is what it tells."""

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "schedule", "network", "parameterization", "objective"), True),
        **dict.fromkeys(("conditions", "train"), True),
        **dict.fromkeys(("process", "optimiser", "init"), False),
    }
    reads: ClassVar[str] = "label"
    predicts: ClassVar[str] = "item"
    what: ClassVar[str] = "a regressor"
    use: ClassVar[str] = (
        'it tells of items, by `undiffuse.load("{path}").predict(x)` in Python, and `undiffuse evaluate` measures it'
    )
    rounds: ClassVar[bool] = False
    writes: ClassVar[tuple[str, ...]] = (EVALUATION,)

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        build.check_denoising(recipe, {})
        if len(conditions) != 1:
            raise Refused(f"a regressor tells one thing: write one table [conditions.NAME], not {len(conditions)}")
        ((name, condition),) = conditions.items()
        if not condition.predicted:
            raise Refused(f"a regressor tells a label or a vector, and conditions.{name}.kind is {condition.kind!r}")
        if condition.drop:
            raise Refused(f"a regressor needs every value: conditions.{name}.drop must be 0, not {condition.drop:g}")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        shape = next((condition.shape for condition in about.conditions.values()), ())
        if not shape:
            refuse_few(len(about.classes))
        outputs, folds = shape[0] if shape else len(about.classes), build.objective(about.recipe).folds
        made = [build.reading(about, outputs) for _ in range(folds)]
        if folds == 1:
            return ItemPredictor(*made[0])
        return FoldedPredictor([network for network, *_ in made], *made[0][1:])

    @torch.no_grad()
    def predict(self, x: np.ndarray | Tensor, t: float = 0.0, learned: bool = False) -> Tensor:
        """What items x (n, *shape) in the data's units are told to be: numbers (n, d) in their own units, or the
        chances of the classes (n, classes). t: the time of the noise that x has, of encoded x_t; 0: none.
        learned: see `ItemReader.told_of`. Raises Refused for numbers that the run's data do not have, and for items of
        another shape.
        """
        (condition,) = self.conditions.values()
        clean = items.several(self.codec, x, "x") if not t else arguments.array(x, "x")
        if tuple(clean.shape[1:]) != tuple(self.data_shape):
            raise Refused(f"the regressor reads items of shape {self.data_shape}, not {tuple(clean.shape[1:])}")
        encoded = self.codec.encode(clean).to(self.device)
        found = self.module.without(encoded) if learned else self.module(encoded, t)
        return condition.decode(found.cpu())

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(map(str, self.facts.get("data", {}).get("columns", ())))

    @property
    def targets(self) -> tuple[str, ...]:
        told = self.facts.get("data", {}).get(PREDICTS, {}).get("targets", ())
        return self.classes or tuple(map(str, told))

    def told_of(self, rows: Tensor, learned: bool = False) -> Tensor:
        numbers = math.prod(self.data_shape)
        if rows.ndim != 2 or rows.shape[1] != numbers:
            raise Refused(f"the regressor reads items of {numbers} numbers, and given is {tuple(rows.shape)}")
        told = as_dtype(rows, self.codec.dtype).reshape(len(rows), *self.data_shape)
        size = batches(self.shape)
        parts = progress_bar(told.split(size), desc="predicting", unit="batch", delay=2, leave=False)
        found = [self.predict(part, learned=learned).double() for part in parts]
        return torch.cat(found) if len(rows) else rows.double()

    def attempt(self) -> None:
        self.module(self.module.process.prior((1, *self.shape)).sample(Random(0)).to(self.device), 1.0)

    def about(self) -> dict[str, str]:
        ((name, condition),) = self.conditions.items()
        return {"tells": f"{name}: {condition.summary()}"}

    def evaluate(self, asked: EvaluationRequest) -> ItemScores:
        from undiffuse.evaluation import sources
        from undiffuse.evaluation.metrics.metric import verdict

        real, started = sources.against(self, asked.against), time.perf_counter()
        ((name, condition),) = self.conditions.items()
        for part in (real.train, real.held_out):
            if name not in part.conditions:
                raise Refused(f"{part.name} has no {name!r}, which the regressor tells")
        trained: Any = build.objective(self.recipe)
        times = TIMES if trained.noisy else TIMES[:1]
        held_out, train = (
            [self._score(part, t, asked.request.seed) for t in times] for part in (real.held_out, real.train)
        )
        what, count = "accuracy" if condition.counts_classes else "r2", min(COUNT, len(real.held_out))
        judged = verdict(
            float(np.mean(held_out)), float(np.mean(train)), better="higher", count=count, seed=asked.request.seed
        )
        levels = {"t": times, "held_out": held_out, "train": train}
        about = written(self, asked, real, {what: judged}, count, started, levels=levels)
        return ItemScores(about, what, times, held_out, train)

    @torch.no_grad()
    def _score(self, data: "Dataset", t: float, seed: int) -> float:
        """The share of items whose class is told, or 1 - error/variance of their numbers."""
        some = data.some(COUNT)
        x_0, (target,) = self.codec.encode(np.asarray(some.x)), tensors(self.conditions, some.conditions).values()
        found: list[Tensor] = []
        for rows in torch.arange(len(x_0)).split(batches(self.shape)):
            part = x_0[rows].to(self.device)
            noisy = self.module.process.marginal(part, t).sample(Random(seed, rows)) if t else part
            found.append(self.module(noisy, t).cpu())
        told = torch.cat(found)
        if not target.is_floating_point():
            return float((told.argmax(1) == target).double().mean())
        return 1 - float((told - target).square().mean() / (target - target.mean(0)).square().mean())
