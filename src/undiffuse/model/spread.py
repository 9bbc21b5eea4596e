"""What a recipe's [denoiser] table stands for: what a guess says of its variance, and the network that this takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.model.recipe import Recipe


@dataclass(frozen=True)
class Spread:
    """variance: see `Predictor`; all but "none" take a network of twice the data's channels."""

    variance: Literal["none", "learned_range", "second_moment"] = "none"


def spread(recipe: Recipe) -> Spread:
    """The [denoiser] table; raises Refused for unknown fields and values, for tokens, and for a network that cannot."""
    table, network = recipe["denoiser"], str(recipe["network"].get("name"))
    found = Spread(**registry.check(Spread, table, owner="denoiser"))
    if table and not recipe["scales"]:
        raise Refused("[denoiser] says how a guess of values varies; tokens have probabilities: leave the table out")
    if found.variance != "none" and "out_channels" not in registry.fields(registry.get("networks", network)):
        able = [n for n in registry.names("networks") if "out_channels" in registry.fields(registry.get("networks", n))]
        raise Refused(
            f"denoiser.variance = {found.variance!r} needs a network with out_channels, and {network!r} has none; "
            f"such are: {', '.join(able)}"
        )
    if recipe["sampler"].get("variance") == "learned" and found.variance != "learned_range":
        raise Refused('sampler.variance = "learned" needs denoiser.variance = "learned_range"')
    return found


def network(recipe: Recipe, channels: int) -> Mapping[str, Any]:
    """The [network] table for data of so many channels, with twice as many out where the variance takes them."""
    wide = spread(recipe).variance != "none"
    return {**recipe["network"], "out_channels": 2 * channels} if wide else recipe["network"]
