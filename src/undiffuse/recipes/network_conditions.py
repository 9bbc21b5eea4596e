"""Which networks can take which conditions."""

from collections.abc import Mapping
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused


def predicts(kind: str, name: str) -> str:
    """What a network gives, or what an objective trains one to give: data, unless its class says otherwise."""
    component: Any = registry.get(kind, name)
    return getattr(component, "predicts", "data")


def check_conditions(network: str, conditions: Mapping[str, ConditionKind], shape: tuple[int, ...] = ()) -> None:
    """Raises Refused for conditions that the network has no way to take, naming networks that have, and for images with
    other axes than samples of this shape.
    """
    for key, condition in conditions.items():
        field = "classes" if condition.counts_classes else "conditions"
        if field not in registry.fields(registry.get("networks", network)):
            able = [n for n in registry.names("networks") if field in registry.fields(registry.get("networks", n))]
            able = [n for n in able if predicts("networks", n) == predicts("networks", network)]
            raise Refused(
                f"network {network!r} cannot take {key!r}, which is {condition.kind}; networks for it: "
                f"{', '.join(able)}"
            )
        if condition.beside and shape and len(condition.shape) != len(shape):
            raise Refused(f"{key!r} stands beside samples of shape {shape}: an image of shape {condition.shape} cannot")
