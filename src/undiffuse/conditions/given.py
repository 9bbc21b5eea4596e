"""Conditions as a person gives them: values of Python or JSON, and words of a command line."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core.errors import Refused, near
from undiffuse.core.random import Random


def requested(
    conditions: Mapping[str, ConditionKind], n: int, values: Mapping[str, Any], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """The conditions of n samples, each a tensor (n, ...) on the device; those given as None are left out.

    Raises Refused for a condition that the model was not trained with, for one that it cannot do without, and for
    unknown classes and values of another shape.
    """
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        if value is None:
            continue
        if not conditions:
            raise Refused(
                f"the model is unconditional: it was trained without {name!r} (its recipe has no [conditions.{name}])"
            )
        if name not in conditions:
            raise no_condition(name, conditions)
        found[name] = conditions[name].given(value, n, name).to(device)
    for name, condition in conditions.items():
        if name not in found and condition.needed:
            if (usual := condition.usual(n)) is None:
                raise Refused(
                    f"the model needs {name!r}: it was never dropped in training (conditions.{name}.drop = 0)"
                )
            found[name] = usual.to(device)
    return found


def no_condition(name: str, conditions: Collection[str], options: Collection[str] = ()) -> Refused:
    """The error for a name that is no option of sampling and no condition of a model; names the nearest."""
    hint, there = near(name, [*conditions, *options]), ", ".join(conditions) or "none"
    return Refused(f"sample has no option and the model no condition {name!r}{hint}; its conditions: {there}")


def augmented(
    conditions: Mapping[str, ConditionKind], values: Mapping[str, Tensor], level: float, random: Random
) -> dict[str, Tensor]:
    """Values as networks take them, those of conditions that were trained with noise with noise of this level.

    Raises Refused where a level is asked for and no condition was trained so, or not up to this level.
    """
    noisy = {name: condition for name, condition in conditions.items() if condition.noisy and name in values}
    if level and not noisy:
        raise Refused(
            f"augmentation = {level:g} is noise on a condition that was trained with some (conditions.NAME.noise), and "
            "none is given"
        )
    made = {name: noisy[name].noised(values[name], level, random.fold(i)) for i, name in enumerate(sorted(noisy))}
    return {**values, **made} if level else dict(values)


def captions(conditions: Mapping[str, ConditionKind], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts that samples are conditioned on: one for all of them, or one of each; () for none."""
    found = (condition.captions(values[name]) for name, condition in conditions.items() if values.get(name) is not None)
    return next(filter(None, found), ())


def from_words(conditions: Mapping[str, ConditionKind], words: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The conditions that these (option, word) ask for, as `Generator.sample` takes them.

    An option is a condition's name, or a kind of which the model has one condition. Raises Refused for options that fit
    none, for a condition asked for twice, and for words that cannot be read as its kind.
    """
    found: dict[str, Any] = {}
    for option, word in words:
        name = _name(conditions, option)
        if name in found:
            raise Refused(f"{name!r} is given twice")
        found[name] = conditions[name].from_word(word, name)
    return found


def pairs(settings: Sequence[str]) -> list[tuple[str, str]]:
    """(name, word) of each `name=word`; raises Refused for one without `=`."""
    for setting in settings:
        if "=" not in setting:
            raise Refused(f"cannot read the condition {setting!r}; write name=value, for example map=layout.png")
    return [(name.strip(), word) for name, _, word in (setting.partition("=") for setting in settings)]


def _name(conditions: Mapping[str, ConditionKind], option: str) -> str:
    if option in conditions:
        return option
    fits = [name for name, condition in conditions.items() if condition.kind == option]
    if len(fits) == 1:
        return fits[0]
    has = ", ".join(f"{name} ({condition.kind})" for name, condition in conditions.items()) or "none"
    raise Refused(f"the model has {'several of kind' if fits else 'no condition'} {option!r}; its conditions: {has}")
