"""What makes a recipe one of a noisy classifier: a network that gives labels, and the objective that trains it."""

from collections.abc import Mapping
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.label import LABEL
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.recipes.recipe import Recipe

DATA = "data"  # what a network predicts; its class says so where it is not data


def predicts(kind: str, name: str) -> str:
    """What a network gives, or what an objective trains one to give: data, unless its class says otherwise."""
    component: Any = registry.get(kind, name)
    return getattr(component, "predicts", DATA)


def is_classifier(recipe: Recipe) -> bool:
    """Whether the recipe's network tells the class of a noisy sample, and guesses no data."""
    return predicts("networks", str(recipe["network"].get("name"))) == LABEL


def check(recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
    """Raises Refused where network and objective are not both for labels or both for data, and, naming the table, for
    what a classifier cannot have.
    """
    network, objective = (str(recipe[table].get("name")) for table in ("network", "objective"))
    wanted, trained = predicts("networks", network), predicts("objectives", objective)
    if trained != wanted:
        does = {DATA: "guesses data", LABEL: "tells classes"}
        able = [name for name in registry.names("objectives") if predicts("objectives", name) == wanted]
        raise Refused(
            f"network {network!r} {does[wanted]} and objective {objective!r} is for one that {does[trained]}; "
            f"objectives for this network: {', '.join(able)}"
        )
    if wanted != LABEL:
        return
    if not recipe["parameterization"]:
        raise Refused(f"network {network!r} tells the classes of noisy values, not of tokens")
    if LABEL not in conditions:
        raise Refused("a classifier learns labels: write [conditions.label]")
    if drop := conditions[LABEL].drop:
        raise Refused(f"a classifier needs every label: conditions.label.drop must be 0, not {drop:g}")
    if other := next((name for name in conditions if name != LABEL), None):
        raise Refused(f"a classifier sees the noisy sample and nothing else: remove [conditions.{other}]")
    for table, what in (("sampler", "draws no samples"), ("denoiser", "guesses no data")):
        if recipe[table]:
            raise Refused(f"a classifier {what}: leave the table [{table}] out")
