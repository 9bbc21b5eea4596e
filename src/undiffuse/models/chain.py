"""A chain: a run made of runs, such as a cascade, where the sample of one is a condition of the next."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.models.drawn_kind import DrawnKind
from undiffuse.progress import Progress
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.uses import Uses
from undiffuse.sampling.chain_session import ChainSession
from undiffuse.sampling.chained import Stage, StageTable, conditions_of, stages_of
from undiffuse.sampling.evaluation_request import Bar
from undiffuse.sampling.request import SampleRequest

STAGE = "chain.stages"  # of the field that names a stage's run, with its number behind


class NoWeights(nn.Module):
    """A chain has no weights of its own."""


class Chain(DrawnKind):
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

    @classmethod
    def of_runs(cls, runs: Mapping[str, Any], tables: Mapping[str, StageTable] = MappingProxyType({})) -> Self:
        """The chain of these runs in order, by the names of their stages. tables: what is said of some of them.

        Raises Refused for runs that do not meet, see `stages_of`.
        """
        made, last = stages_of(runs, tables), list(runs.values())[-1]
        named = {
            each.name: {"run": tables[each.name].run if each.name in tables else each.name, "fills": each.fills}
            | {"augmentation": float(each.augmentation), "truncated": each.truncated}
            for each in made
        }
        of_last = {name: last.recipe[name] for name in ("data", "codec")}
        split = {"steps": 1, **{name: value for name, value in last.recipe["train"].items() if name in KEPT}}
        said = {"kind": "chain", **of_last, "chain": {"stages": named}, "train": split}
        recipe = Recipe.of("chain", {"about": f"A chain of {', then '.join(runs)}", **said})
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
        tables = {name: StageTable(**registry.check(StageTable, each, f"stages.{name}")) for name, each in said.items()}
        return stages_of({name: self.recipe.uses.run(f"{STAGE}.{name}.run", name) for name in said}, tables)

    @property
    def askable(self) -> Mapping[str, ConditionKind]:
        return {**self.conditions, **{stage.fills: stage.condition for stage in self.stages[1:]}}

    @property
    def noisy_stages(self) -> Mapping[str, float]:
        conditions: dict[str, Any] = {stage.name: stage.condition for stage in self.stages[1:]}
        return {name: each.noise for name, each in conditions.items() if each.noisy}

    def with_levels(self, levels: Mapping[str, float]) -> Self:
        said = self.recipe["chain"]["stages"]
        changed = {
            name: {**table, **({"augmentation": levels[name]} if name in levels else {})}
            for name, table in said.items()
        }
        return replace(self, recipe=self.recipe.with_tables(chain={"stages": changed}))

    @property
    def parameters(self) -> int:
        return sum(stage.run.parameters for stage in self.stages)

    @property
    def device(self) -> torch.device:
        return self.stages[0].run.device

    def to(self, precision: str = "auto", device: torch.device | str | None = None) -> Self:
        for run in self.uses.values():
            run.to(precision if run.rounds else "float32", self.device if device is None else device)
        return self

    def attempt(self) -> None:
        self.stages[-1].run.attempt()

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> ChainSession:
        asked = (request or SampleRequest()).updated(options, self.askable)
        return ChainSession.open(self, self.stages, asked, self.askable, progress)

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
    how = ", at which the stage before stops" if stage.truncated else ""
    noise = f" with noise of level {stage.augmentation:g}{how}" if stage.augmentation else ""
    return f"{said}, told the sample before as {stage.fills!r}{noise}" if stage.fills else said
