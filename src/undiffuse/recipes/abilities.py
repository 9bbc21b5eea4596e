"""Whether network and objective can do what a recipe asks of them, by what their classes declare."""

from collections.abc import Iterable, Mapping
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.families import WORDS
from undiffuse.core.jumps import GUIDANCE, TO
from undiffuse.core.network import Network
from undiffuse.core.process.process import Process
from undiffuse.recipes.denoiser_settings import told
from undiffuse.recipes.recipe import KIND, Recipe

NEEDED = {TO: "where to jump to (denoiser.jumps)", GUIDANCE: "the guidance weight (denoiser.guidance_input)"}


def check_predicts(recipe: Recipe) -> None:
    """Raises Refused, naming others, for a network and an objective that are for another kind of run."""
    kind: Any = registry.get("models", recipe.kind)
    for table, wanted in (("network", kind.reads), ("objective", kind.predicts)):
        if table not in kind.tables:
            continue
        name = str(recipe[table]["name"])
        if (found := registry.get(KIND[table], name).predicts) != wanted:
            raise Refused(
                f"{table} {name!r} predicts {found}, and a run of kind {recipe.kind!r} needs one that predicts "
                f"{wanted}; such are: {', '.join(_predicting(KIND[table], wanted))}"
            )


def check_network(
    recipe: Recipe, conditions: Mapping[str, ConditionKind], process: Process, shape: tuple[int, ...] = ()
) -> None:
    """Raises Refused, naming networks that can, for one that is for other data or cannot take these conditions, and for
    images with other axes than samples of this shape.
    """
    name = str(recipe["network"].get("name"))
    mine: type[Network] = registry.get("networks", name)
    if process.family not in mine.families:
        its = " and ".join(WORDS[family] for family in sorted(mine.families))
        like = _predicting("networks", mine.predicts)
        others = _listed(each for each, other in like.items() if process.family in other.families)
        raise Refused(f"network {name!r} is for {its}; networks for {WORDS[process.family]} are: {others}")
    if (asked := next(iter(told(recipe)), "")) and "vector" not in mine.forms:
        like = _predicting("networks", mine.predicts)
        others = _listed(each for each, other in like.items() if "vector" in other.forms)
        raise Refused(
            f"network {name!r} takes no vector, and so cannot be told {NEEDED[asked]}; networks for it: {others}"
        )
    for key, condition in conditions.items():
        if condition.form not in mine.forms:
            like = _predicting("networks", mine.predicts)
            like = {each: other for each, other in like.items() if process.family in other.families}
            others = _listed(each for each, other in like.items() if condition.form in other.forms)
            raise Refused(f"network {name!r} cannot take {key!r}, which is {condition.kind}; networks for it: {others}")
        if condition.beside and shape and len(condition.shape) != len(shape):
            raise Refused(f"{key!r} stands beside samples of shape {shape}: an image of shape {condition.shape} cannot")


def refuse_forms(name: str, conditions: Mapping[str, ConditionKind]) -> None:
    """Raises Refused for conditions that the network of this name cannot take, whatever the data are."""
    mine: type[Network] = registry.get("networks", name)
    for key, condition in conditions.items():
        if condition.form not in mine.forms:
            takes = " and ".join(mine.forms) or "no condition"
            raise Refused(f"network {name!r} cannot take {key!r}, which is {condition.kind}: it takes {takes}")


def check_read(recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
    """Raises Refused unless the condition that the codec reads is there for every item."""
    name = recipe.component("codec").reads
    if name and (name not in conditions or not conditions[name].of_item):
        raise Refused(
            f"codec {recipe['codec']['name']!r} reads the condition {name!r}: write [conditions.{name}] with kind = "
            "'vector' and of = 'item'"
        )
    if name and conditions[name].drop:
        raise Refused(
            f"codec {recipe['codec']['name']!r} needs {name!r} of every item: conditions.{name}.drop must be 0, not "
            f"{conditions[name].drop:g}"
        )


def check_space(recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
    """Raises Refused where a text is embedded by another pair of encoders than the items that are modelled."""
    own = recipe.component("codec").space
    for name, condition in conditions.items():
        if own and condition.space not in ("", own):
            named = recipe["conditions"][name].get("encoder"), recipe["codec"].get("encoder")
            raise Refused(
                f"conditions.{name}.encoder = {named[0]!r} and codec.encoder = {named[1]!r} are different pairs "
                f"({condition.space[:8]} and {own[:8]}): texts and items lie in one space, name one run for both"
            )


def _predicting(kind: str, wanted: str) -> dict[str, Any]:
    """The components that predict this; imports all of the kind, and so only where one is refused."""
    known: dict[str, Any] = {name: registry.get(kind, name) for name in registry.names(kind)}
    return {name: each for name, each in known.items() if each.predicts == wanted}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
