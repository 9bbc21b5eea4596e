"""The stages of a chain, and whether each one's samples are what the next one takes as a condition."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused, unknown
from undiffuse.recipes.recipe import parse
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.meeting import refuse_filters, refuse_space, refuse_truncated
from undiffuse.sampling.words import numbers

FORMS = ("image", "vector", "embedding")  # of conditions that a sample can be


@dataclass(frozen=True, eq=False)
class Stage:
    """A run of a chain. name: as requests call it. fills: its condition that is the sample of the stage before, "" for
    the first; augmentation: the level of noise on it; truncated: the stage before stops at that level, and its state is
    taken as it is, where else its finished sample gets new noise.
    """

    run: Generator
    name: str
    fills: str = ""
    augmentation: float = 0.0
    truncated: bool = False

    @property
    def condition(self) -> ConditionKind:
        """The kind of the condition that it takes from the stage before."""
        return self.run.conditions[self.fills]


@dataclass(frozen=True)
class StageTable:
    """What is said of a stage: the folder of its run, the condition that it fills ("": the one that fits), the level of
    noise on that, and whether the stage before stops there.
    """

    run: str
    fills: str = ""
    augmentation: float = 0.0
    truncated: bool = False


def stages_of(runs: Mapping[str, Any], tables: Mapping[str, StageTable]) -> tuple[Stage, ...]:
    """The stages that runs are, in order, by their names; tables: what is said of some of them.

    Raises Refused for runs that draw nothing, for conditions that the samples before do not fit, with both shapes, for
    pictures that were made small by different filters, for levels of noise that a network never saw, and for samples
    that cannot be handed over with their noise.
    """
    if len(runs) < 2:
        raise Refused(f"a chain has two stages or more, not {len(runs)}")
    for name, run in runs.items():
        if not run.draws:
            raise Refused(f"stage {name!r} is {run.what}, which draws no samples")
    found = [Stage(run, name) for name, run in runs.items()]
    for i in range(1, len(found)):
        before, run, name = found[i - 1].run, found[i].run, found[i].name
        table = tables.get(name, StageTable(""))
        fills = table.fills or _fitting(before, run, name)
        if fills not in run.conditions:
            raise Refused(f"stage {name!r} has no condition {fills!r}; its conditions: {_listed(run.conditions)}")
        _refuse_unlike(before, run.conditions[fills], name, fills)
        refuse_space(found[i - 1], found[i], fills)
        refuse_filters(found[i - 1], found[i], fills)
        _refuse_level(run.conditions[fills], table.augmentation, name, fills)
        if table.truncated:
            refuse_truncated(found[i - 1], found[i], fills)
        found[i] = Stage(run, name, fills, table.augmentation, table.truncated)
    return tuple(found)


def conditions_of(stages: Sequence[Stage]) -> dict[str, ConditionKind]:
    """What a person may ask a chain for: the conditions of all stages but those that are filled.

    Raises Refused where two stages mean different things by one name.
    """
    found: dict[str, ConditionKind] = {}
    for stage in stages:
        for name, condition in stage.run.conditions.items():
            if name == stage.fills:
                continue
            if found.setdefault(name, condition).spec != condition.spec or found[name].classes != condition.classes:
                raise Refused(
                    f"{name!r} is {found[name].summary()} of an earlier stage, and {condition.summary()} of stage "
                    f"{stage.name!r}: train both with the same, or rename one"
                )
    return found


def _fitting(before: Generator, run: Generator, name: str) -> str:
    """The one condition of a run that the sample before it can be."""
    able = [each for each, kind in run.conditions.items() if kind.form in FORMS and kind.shape == before.data_shape]
    if len(able) == 1:
        return able[0]
    why = f"several: {', '.join(able)}; say which by --fills" if able else f"none: {_listed(run.conditions)}"
    raise Refused(
        f"the stage before {name!r} makes samples of shape {before.data_shape}, and of conditions of {name!r} such are "
        f"{why}"
    )


def _refuse_unlike(before: Generator, condition: ConditionKind, name: str, chosen: str) -> None:
    """Raises Refused, showing both, where a stage's sample is not what the next one takes."""
    if condition.form not in FORMS or condition.shape != before.data_shape:
        raise Refused(
            f"stage {name!r} takes {chosen!r} as {condition.summary()}, and the stage before it makes samples of shape "
            f"{before.data_shape}: train one of them on the other's size (data.size, conditions.{chosen}.of)"
        )


def _refuse_level(condition: Any, level: float, name: str, fills: str) -> None:
    """Raises Refused for a level of noise on a condition that the stage's network never saw."""
    if level and not condition.noisy:
        raise Refused(
            f"stage {name!r} was trained on {fills!r} without noise, so that it never saw the level {level:g}: "
            f"train it with conditions.{fills}.noise"
        )
    if level and not 0 <= level <= condition.noise:
        raise Refused(f"stage {name!r} knows noise on {fills!r} of levels from 0 to {condition.noise:g}, not {level:g}")


def _listed(conditions: Mapping[str, ConditionKind]) -> str:
    return ", ".join(f"{name} ({each.summary()})" for name, each in conditions.items()) or "none"


def said(
    words: Sequence[str], fills: Sequence[str] = (), levels: Sequence[str] = (), truncated: Sequence[str] = ()
) -> dict[str, StageTable]:
    """The stages by name that words of a command line say: folders, each RUN or NAME=RUN, or one .toml file.

    fills: STAGE=CONDITION, levels: STAGE=LEVEL, truncated: STAGE. Raises Refused for what cannot be read, and for
    stages that there are not.
    """
    if len(words) == 1 and words[0].endswith(".toml"):
        tables: Any = parse(Path(words[0])).get("stages", {})
        read = {
            name: StageTable(**registry.check(StageTable, table, f"stages.{name}")) for name, table in tables.items()
        }
        found = {name: replace(table, run=_beside(Path(words[0]), table.run)) for name, table in read.items()}
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
    for stage in truncated:
        if stage not in found:
            raise unknown("the chain's stages", stage, found)
        found[stage] = replace(found[stage], truncated=True)
    return found


def _beside(file: Path, run: str) -> str:
    """The folder of a run that a file names: beside the file where it is there, else as it is said."""
    return str(file.parent / run) if (file.parent / run).is_dir() else run


def _by_stage(words: Sequence[str], stages: Collection[str]) -> Iterator[tuple[str, str]]:
    """(stage, value) of each STAGE=VALUE."""
    for word in words:
        stage, equals, value = word.partition("=")
        if not equals or stage not in stages:
            raise unknown("the chain's stages", stage, stages)
        yield stage, value
