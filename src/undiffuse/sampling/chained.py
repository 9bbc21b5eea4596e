"""The stages of a chain, and whether each one's samples are what the next one takes as a condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core.errors import Refused
from undiffuse.sampling.generator import Generator

FORMS = ("image", "vector")  # of conditions that a sample can be


@dataclass(frozen=True, eq=False)
class Stage:
    """A run of a chain. name: as requests call it. fills: its condition that is the sample of the stage before, "" for
    the first; augmentation: the level of noise on it.
    """

    run: Generator
    name: str
    fills: str = ""
    augmentation: float = 0.0

    @property
    def condition(self) -> ConditionKind:
        """The kind of the condition that it takes from the stage before."""
        return self.run.conditions[self.fills]


def stages_of(
    runs: Sequence[Any], names: Sequence[str], fills: Sequence[str], levels: Sequence[float]
) -> tuple[Stage, ...]:
    """The stages that runs are, in order.

    names: of the stages; fills: of all but the first the condition that is the sample before, "" where there is one
    that fits; levels: of the noise on it. Raises Refused for runs that draw nothing, conditions that do not fit, shown
    beside the samples, and levels that a network never saw.
    """
    if len(runs) < 2:
        raise Refused(f"a chain has two stages or more, not {len(runs)}")
    for name, run in zip(names, runs, strict=True):
        if not run.draws:
            raise Refused(f"stage {name!r} is {run.what}, which draws no samples")
    if len(set(names)) < len(names):
        raise Refused(f"two stages have one name: {', '.join(names)}; name them otherwise, as NAME=RUN")
    found = [Stage(runs[0], names[0])]
    for before, run, name, fill, level in zip(runs, runs[1:], names[1:], fills, levels, strict=False):
        chosen = fill or _fitting(before, run, name)
        if chosen not in run.conditions:
            raise Refused(f"stage {name!r} has no condition {chosen!r}; its conditions: {_listed(run.conditions)}")
        _refuse_unlike(before, run.conditions[chosen], name, chosen)
        if level and not run.conditions[chosen].noisy:
            raise Refused(
                f"stage {name!r} was trained on {chosen!r} without noise, so that it never saw the level {level:g}: "
                f"train it with conditions.{chosen}.noise"
            )
        most: Any = run.conditions[chosen]
        if level and not 0 <= level <= most.noise:
            raise Refused(f"stage {name!r} knows noise on {chosen!r} of levels from 0 to {most.noise:g}, not {level:g}")
        found.append(Stage(run, name, chosen, level))
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


def _listed(conditions: Mapping[str, ConditionKind]) -> str:
    return ", ".join(f"{name} ({each.summary()})" for name, each in conditions.items()) or "none"
