"""The conditions that a recipe or a model's description declares, by name."""

import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.label import LABEL
from undiffuse.core import registry
from undiffuse.core.errors import Refused

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")  # of a condition, which is also an argument's name
MASK = "mask"  # the condition that says which places are no padding
TAKEN = {"x_t", "t", "to", "x", "c_time", "drop", "random", "memory", "self"}  # arguments of components


def declared(tables: Mapping[str, Any], runs: Callable[[str], registry.Runs] | None = None) -> dict[str, ConditionKind]:
    """The tables of [conditions] by name; raises Refused for other tables, names that are taken, and wrong kinds.

    runs: of a table, opens the runs that its fields name, see `registry.build`.

    Runs that draw samples refuse the names of their options, too.
    """
    found: dict[str, ConditionKind] = {}
    for name, fields in tables.items():
        if not isinstance(fields, Mapping):
            raise Refused(f"conditions.{name} is a table: write [conditions.{name}] and its fields below")
        if not NAME.fullmatch(name) or name in TAKEN or keyword.iskeyword(name):
            raise Refused(
                f"a condition cannot be called {name[:80]!r}: write small letters, and no argument of a denoiser"
            )
        component = _component(name, fields.get("kind", "label"))
        own = {field: value for field, value in fields.items() if field != "kind"}
        table = f"conditions.{name}"
        checked = registry.check(component, own, owner=table, runs=runs(table) if runs else None)
        try:
            found[name] = component(**checked)
        except Refused as error:
            raise Refused(f"{table}: {error}") from None
    if changing := next((name for name, each in found.items() if each.augments), None):
        fixed = next((name for name, each in found.items() if each.beside or each.placed or each.masks), None)
        if fixed:
            raise Refused(
                f"conditions.{changing} moves what is in pictures, and conditions.{fixed} names its places, which do "
                "not move along: leave one of them out"
            )
    return found


def _component(name: str, kind: Any) -> type[ConditionKind]:
    try:
        component: type[ConditionKind] = registry.get("conditions", str(kind))
    except Refused as error:
        raise Refused(f"conditions.{name}.kind = {str(kind)[:80]!r}: {error}") from None
    counts = name == LABEL
    masks = name == MASK
    if component.counts_classes != counts or component.masks != masks:
        known = {each: registry.get("conditions", each) for each in registry.names("conditions")}
        kinds = [each for each, found in known.items() if found.counts_classes == counts and found.masks == masks]
        raise Refused(f"conditions.{name}.kind = {kind!r}: it must be {' or '.join(kinds)}")
    return component


def drop_rates(conditions: Mapping[str, ConditionKind]) -> float | dict[str, float]:
    """How often conditions are dropped in training: one number where there is one, else one by each name."""
    rates = {name: condition.drop for name, condition in conditions.items()}
    return rates if len(rates) > 1 else next(iter(rates.values()), 0.0)


def summaries(conditions: Mapping[str, ConditionKind]) -> list[str]:
    """A line for each condition: its name, what a value is, and how often it was dropped in training."""
    return [f"{name}: {condition.summary()}, {_asked(condition)}" for name, condition in conditions.items()]


def _asked(condition: ConditionKind) -> str:
    if condition.drop:
        return f"dropped in {condition.drop:.0%} of training"
    return "always needed" if condition.usual(1) is None else "may be left out"
