"""What a recipe's [denoiser] table stands for: what a guess says of its data, and the network that this takes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.heads.token_outputs import WIDTHS
from undiffuse.core.jumps import Jumps, conditions
from undiffuse.recipes.recipe import Recipe


@dataclass(frozen=True)
class DenoiserSettings:
    """variance: of values, see `LearnedVariance`; all but "none" take a network of twice the data's channels.
    output: of tokens, what the network gives, see `TokenHead`; "logistic" takes a network with the field outputs.
    embedding: so many numbers stand for each token, which are values then, see `EmbeddingHead`; 0: none do.
    jumps: what a call may be told to land on, see `Denoiser`. guidance_input: the range of weights to guide
    with, of which the network reads one; both for guesses of values without a variance.
    bounded: guesses lie within the bounds of the codec where it has any, in training as in sampling, see `BoundedHead`.
    """

    variance: Literal["none", "learned_range", "second_moment"] = "none"
    output: Literal["probabilities", "subs", "plug_in", "logistic", "ratios"] = "probabilities"
    embedding: int = 0
    jumps: Jumps = "none"
    guidance_input: tuple[float, float] | None = None
    bounded: bool = False


def denoiser_settings(recipe: Recipe) -> DenoiserSettings:
    """The [denoiser] table; raises Refused for unknown fields and values, for a variance of tokens, an output of
    values, and for a network that cannot.
    """
    table, network = recipe["denoiser"], str(recipe["network"].get("name"))
    found = DenoiserSettings(**registry.check(DenoiserSettings, table, owner="denoiser"))
    wrong, values = ("output", "tokens") if recipe["parameterization"] else ("variance", "values")
    if wrong in table:
        raise Refused(f"denoiser.{wrong} says how a guess of {values} is given; this recipe has none: leave it out")
    if found.embedding < 0 or (found.embedding and found.variance != "none"):
        raise Refused(
            f"denoiser.embedding is how many numbers stand for a token, 0 or more, without a variance; not "
            f"{found.embedding} with variance {found.variance!r}"
        )
    few = {"jumps": found.jumps != "none", "guidance_input": found.guidance_input is not None}
    if (asked := next((field for field, there in few.items() if there), "")) and (
        not recipe["parameterization"] or found.embedding or found.variance != "none"
    ):
        raise Refused(
            f"denoiser.{asked} is for guesses of values, without a variance and not of embeddings: leave it out"
        )
    if found.bounded and (not recipe["parameterization"] or found.embedding):
        raise Refused("denoiser.bounded is for guesses of values, not of tokens: leave it out")
    if found.guidance_input and not 0 <= found.guidance_input[0] < found.guidance_input[1] < math.inf:
        low, high = found.guidance_input
        raise Refused(f"denoiser.guidance_input is a range of weights from 0 on, as [1, 4], not [{low:g}, {high:g}]")
    for field, needed in (
        ("out_channels", f"variance = {found.variance!r}" if found.variance != "none" else ""),
        ("outputs", f"output = {found.output!r}" if found.output in WIDTHS else ""),
    ):
        if needed and field not in registry.fields(registry.get("networks", network)):
            able = [n for n in registry.names("networks") if field in registry.fields(registry.get("networks", n))]
            raise Refused(
                f"denoiser.{needed} needs a network with {field}, and {network!r} has none; such are: {', '.join(able)}"
            )
    if recipe["sampler"].get("variance") == "learned" and found.variance != "learned_range":
        raise Refused('sampler.variance = "learned" needs denoiser.variance = "learned_range"')
    return found


def network(recipe: Recipe, channels: int) -> Mapping[str, Any]:
    """The [network] table for data of so many channels, with as many numbers out as the [denoiser] table takes."""
    found = denoiser_settings(recipe)
    wide = {"out_channels": 2 * channels} if found.variance != "none" else {}
    few = {"outputs": WIDTHS[found.output]} if found.output in WIDTHS else {}
    return {**recipe["network"], **wide, **few}


def told(recipe: Recipe) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The conditions that the network is told besides those of the data, by name their form and shape."""
    found = denoiser_settings(recipe)
    return conditions(found.jumps, found.guidance_input)


def times(recipe: Recipe, process: Any) -> tuple[float, ...]:
    """The one grid of times of a denoiser that jumps along it, which the [sampler] table says; () of others.

    Raises Refused where it says none.
    """
    if denoiser_settings(recipe).jumps != "fixed":
        return ()
    grid, steps = recipe["sampler"].get("grid"), recipe["sampler"].get("steps")
    if not grid or not steps:
        raise Refused(
            'denoiser.jumps = "fixed" is for one grid of times: give sampler.steps and sampler.grid, as 4 and "angle"'
        )
    made = registry.build("grids", {"name": grid} if isinstance(grid, str) else grid)
    return tuple(made(process.schedule, steps).tolist())
