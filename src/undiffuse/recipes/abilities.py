"""Whether network and objective can do what a recipe asks of them, by what their classes declare."""

from collections.abc import Mapping
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import families, registry
from undiffuse.core.errors import Refused
from undiffuse.core.families import WORDS
from undiffuse.core.network import Network
from undiffuse.core.process.process import Process
from undiffuse.recipes.recipe import KIND, Recipe


def check_objective(recipe: Recipe, objective: Any, process: Process) -> None:
    """Raises Refused for an objective that trains something else than the recipe's kind of run, or other data."""
    _check_predicts(recipe, "objective", objective.predicts, registry.get("models", recipe.kind).predicts)
    families.check(objective, process)


def check_network(
    recipe: Recipe, conditions: Mapping[str, ConditionKind], process: Process, shape: tuple[int, ...] = ()
) -> None:
    """Raises Refused, naming networks that can, for one that gives something else than the recipe's kind of run reads,
    that is for other data or cannot take these conditions, and for images with other axes than samples of this shape.
    """
    name, own = str(recipe["network"].get("name")), _all("networks")
    mine: type[Network] = registry.get("networks", name)
    _check_predicts(recipe, "network", mine.predicts, registry.get("models", recipe.kind).reads)
    like = {each: able for each, able in own.items() if able.predicts == mine.predicts}
    if process.family not in mine.families:
        its = " and ".join(WORDS[family] for family in sorted(mine.families))
        able = [each for each, other in like.items() if process.family in other.families]
        raise Refused(f"network {name!r} is for {its}; networks for {WORDS[process.family]} are: {', '.join(able)}")
    for key, condition in conditions.items():
        if condition.form not in mine.forms:
            like = {each: other for each, other in like.items() if process.family in other.families}
            able = [each for each, other in like.items() if condition.form in other.forms]
            raise Refused(
                f"network {name!r} cannot take {key!r}, which is {condition.kind}; networks for it: {', '.join(able)}"
            )
        if condition.mirrored and shape and len(condition.shape) != len(shape):
            raise Refused(f"{key!r} stands beside samples of shape {shape}: an image of shape {condition.shape} cannot")


def _all(kind: str) -> dict[str, Any]:
    return {name: registry.get(kind, name) for name in registry.names(kind)}


def _check_predicts(recipe: Recipe, table: str, found: str, wanted: str) -> None:
    """Raises Refused where network or objective are for another kind of run."""
    if found == wanted:
        return
    able = ", ".join(name for name, each in _all(KIND[table]).items() if each.predicts == wanted)
    raise Refused(
        f"{table} {recipe[table]['name']!r} predicts {found}, and a run of kind {recipe.kind!r} needs one that "
        f"predicts {wanted}; such are: {able}"
    )
