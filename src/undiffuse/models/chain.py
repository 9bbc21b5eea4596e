"""A chain: a run made of runs, such as a cascade, where the sample of one is a condition of the next."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused, unknown
from undiffuse.evaluation.evaluate_drawn import evaluate_drawn
from undiffuse.progress import Progress
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe, parse
from undiffuse.recipes.uses import Uses
from undiffuse.reports.drawn_report import FILES, DrawnReport
from undiffuse.sampling.chain_session import ChainSession
from undiffuse.sampling.chained import Stage, conditions_of, stages_of
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.run import Bar, EvaluationRequest
from undiffuse.sampling.words import numbers

STAGE = "chain.stages"  # of the field that names a stage's run, with its number behind


class NoWeights(nn.Module):
    """A chain has no weights of its own."""


class Chain(Generator):
    """Runs in order; its samples are those of the last one. Fields: see `Run`; shape, codec: of the last stage.

    Source: arXiv:2106.15282.
    """

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "chain"), True),
        **dict.fromkeys(("conditions", "train"), False),
    }
    made: ClassVar[str] = "chain"
    what: ClassVar[str] = "a chain"
    use: ClassVar[str] = "draw samples by `undiffuse sample {run}`"
    rounds: ClassVar[bool] = False
    writes: ClassVar[tuple[str, ...]] = FILES

    @classmethod
    def of_runs(
        cls, runs: Sequence[Any], names: Sequence[str], fills: Sequence[str] = (), levels: Sequence[float] = ()
    ) -> Self:
        """The chain of these runs, see `stages_of`."""
        more = len(runs) - 1
        made = stages_of(runs, names, list(fills) or [""] * more, list(levels) or [0.0] * more)
        last = runs[-1]
        table = {
            "stages": {
                stage.name: {"run": stage.name, "fills": stage.fills, "augmentation": float(stage.augmentation)}
                for stage in made
            }
        }
        held_out = {"train": {"steps": 1, **{k: v for k, v in last.recipe["train"].items() if k in KEPT}}}
        tables = {
            "kind": "chain",
            "data": last.recipe["data"],
            "codec": last.recipe["codec"],
            "chain": table,
            **held_out,
        }
        recipe = Recipe.of("chain", {"about": f"A chain of {', then '.join(names)}", **tables})
        inside = {name: run for name, run in last.recipe.uses.runs.items() if name.startswith("codec.")}
        inside |= {f"{STAGE}.{stage.name}.run": stage.run for stage in made}
        recipe = replace(recipe, uses=Uses(runs=inside), arrays=last.recipe.arrays)
        facts = {name: last.facts[name] for name in ("data", "held_out", "seed") if name in last.facts}
        return cls(NoWeights(), last.codec, last.shape, recipe, conditions_of(made), facts)

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        raise Refused("a chain is not trained: train its stages, and put them together by `undiffuse chain A B -o C`")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        return NoWeights()

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order."""
        said: Mapping[str, Any] = self.recipe["chain"].get("stages", {})
        runs = [self.recipe.uses.run(f"{STAGE}.{name}.run", name) for name in said]
        rest = list(said.values())[1:]
        return stages_of(runs, list(said), [each["fills"] for each in rest], [each["augmentation"] for each in rest])

    @property
    def device(self) -> torch.device:
        return self.stages[0].run.device

    def to(self, precision: str = "auto", device: torch.device | str | None = None) -> Self:
        for run in self.uses.values():
            run.to(precision if run.rounds else "float32", self.device if device is None else device)
        return self

    def attempt(self) -> None:
        self.stages[-1].run.attempt()

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> None:
        """None: a chain is not trained."""

    def evaluate(self, asked: EvaluationRequest) -> DrawnReport:
        return DrawnReport(evaluate_drawn(self, asked))

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> ChainSession:
        known = {**self.conditions, **{stage.fills: stage.condition for stage in self.stages[1:]}}
        return ChainSession.open(self, self.stages, (request or SampleRequest()).updated(options, known), progress)

    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        raise Refused(self.no_likelihood())

    def no_likelihood(self) -> str:
        return "a chain has no likelihood: that of its last stage depends on what the ones before made"

    def about(self) -> dict[str, str]:
        return {"stages": ", then ".join(_told(stage) for stage in self.stages)}


KEPT = ("held_out", "seed")  # of the last stage's settings: which items were held out


def _told(stage: Stage) -> str:
    """A stage in words."""
    said = f"{stage.name} ({' x '.join(map(str, stage.run.data_shape))})"
    noise = f" with noise of level {stage.augmentation:g}" if stage.augmentation else ""
    return f"{said}, told the sample before as {stage.fills!r}{noise}" if stage.fills else said


@dataclass(frozen=True)
class StageTable:
    """What is said of a stage: the folder of its run, the condition that it fills ("": the one that fits), and the
    level of noise on that.
    """

    run: str
    fills: str = ""
    augmentation: float = 0.0


def said(words: Sequence[str], fills: Sequence[str] = (), levels: Sequence[str] = ()) -> dict[str, StageTable]:
    """The stages by name that words of a command line say: folders, each RUN or NAME=RUN, or one .toml file.

    fills: STAGE=CONDITION, levels: STAGE=LEVEL. Raises Refused for what cannot be read, and for stages that there are
    not.
    """
    if len(words) == 1 and words[0].endswith(".toml"):
        tables: Any = parse(Path(words[0])).get("stages", {})
        found = {
            name: StageTable(**registry.check(StageTable, table, f"stages.{name}")) for name, table in tables.items()
        }
    else:
        parted = [word.partition("=") for word in words]
        pairs = [(name, path) if path else (Path(name).name, name) for name, _, path in parted]
        found = {name: StageTable(path) for name, path in pairs}
        if len(found) < len(pairs):
            raise Refused(f"two stages have one name: {', '.join(name for name, _ in pairs)}; write NAME=RUN")
    for stage, condition in _by_stage(fills, found):
        found[stage] = replace(found[stage], fills=condition)
    for stage, level in _by_stage(levels, found):
        found[stage] = replace(found[stage], augmentation=numbers(level, f"{level!r} is no level of noise")[0])
    return found


def chain_of(tables: Mapping[str, StageTable], load: Callable[[str], Any]) -> Chain:
    """The chain of these stages; load: opens a run folder."""
    rest = list(tables.values())[1:]
    runs = [load(table.run) for table in tables.values()]
    return Chain.of_runs(runs, list(tables), [each.fills for each in rest], [each.augmentation for each in rest])


def _by_stage(words: Sequence[str], stages: Collection[str]) -> Iterator[tuple[str, str]]:
    """(stage, value) of each STAGE=VALUE."""
    for word in words:
        stage, equals, value = word.partition("=")
        if not equals or stage not in stages:
            raise unknown("the chain's stages", stage, stages)
        yield stage, value
