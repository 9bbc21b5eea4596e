"""Conditions as they stand in data: what the data decide about them, and their values as tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core.errors import Refused


def fitted(
    conditions: Mapping[str, ConditionKind], data: Mapping[str, Any], name: str, classes: Sequence[str] = ()
) -> dict[str, ConditionKind]:
    """The conditions with what the training data decide, see `ConditionKind.fit`. name: what the data are called.
    classes: of the data.

    Raises Refused for a condition that the data do not have, or have as another kind, and for a field set by hand that
    the data decide.
    """
    found: dict[str, ConditionKind] = {}
    for key, condition in conditions.items():
        if key not in data:
            there = ", ".join(data) or "none"
            raise Refused(
                f"conditions.{key}: the data {name!r} has no {key!r} (conditions there: {there}); "
                f"remove [conditions.{key}], or say in data.conditions what the data call it"
            )
        values = data[key]
        if not condition.accepts(values):
            raise Refused(
                f"conditions.{key}.kind = {condition.kind!r} needs {condition.needs}, and the data {name!r} have "
                f"{key!r} of shape {tuple(values.shape)} and dtype {np.dtype(values.dtype)}"
            )
        found[key] = condition.fit(values, classes)
        for field in fields(condition):
            if getattr(condition, field.name) not in ((), "", getattr(found[key], field.name)):
                raise Refused(f"conditions.{key}.{field.name} cannot be set: the data say it; leave it out")
    return found


def tensors(conditions: Mapping[str, ConditionKind], data: Mapping[str, Any]) -> dict[str, Any]:
    """The values of each condition as networks take them, (count, ...)."""
    return {key: condition.encode(data[key]) for key, condition in conditions.items()}


def completed(
    codec: Codec, conditions: Mapping[str, ConditionKind], values: Mapping[str, Any], learned: bool = False
) -> dict[str, Any]:
    """Values as networks take them, with the conditions that the codec makes of them, see `Codec.added`."""
    own = values.get(codec.reads)
    if own is None:
        return dict(values)
    made = codec.added(conditions[codec.reads].decode(own), learned)
    return {**values, **{name: value.to(own.device) for name, value in made.items()}}


def known(conditions: Mapping[str, ConditionKind], data: Mapping[str, Any]) -> dict[str, Any]:
    """`tensors` of those conditions that the data have, but of optional ones; data from elsewhere may lack some."""
    free = _free(conditions)
    return tensors({key: condition for key, condition in conditions.items() if key in data and key not in free}, data)


def examples(conditions: Mapping[str, ConditionKind], data: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Values for so many samples, as a person gives them: those of the data in turn, of all conditions but labels; of
    these, too, where a picture or a map says what a sample of one class looks like. What is optional is left out where
    samples do not need it.
    """
    free = _free(conditions)
    there = {key: condition for key, condition in conditions.items() if key in data and key not in free}
    shown = any(condition.beside for condition in there.values())
    return {
        key: condition.from_items(data[key][np.arange(count) % len(data[key])], condition.classes)
        for key, condition in there.items()
        if shown or not condition.counts_classes
    }


def _free(conditions: Mapping[str, ConditionKind]) -> set[str]:
    """Those that samples are shown and judged without."""
    return {key for key, condition in conditions.items() if condition.optional and not condition.needed}
