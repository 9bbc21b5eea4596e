"""What a recipe's tables stand for: the components, built and checked together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.declared import declared
from undiffuse.core import families, registry
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.heads.bounded import BoundedHead
from undiffuse.core.heads.embeddings import EmbeddingHead
from undiffuse.core.heads.head import Head
from undiffuse.core.heads.learned_variance import LearnedVariance
from undiffuse.core.heads.parts import PartsHead
from undiffuse.core.heads.rows import NUMBERS, Rows, category
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.jumps import WORDS
from undiffuse.core.objective import Objective
from undiffuse.core.optimiser import Optimiser
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.process import Process
from undiffuse.core.single_precision import in_float32
from undiffuse.optimisers.by_name import optimiser
from undiffuse.recipes import process_tables
from undiffuse.recipes.abilities import check_network, check_predicts, check_read, check_space
from undiffuse.recipes.denoiser_settings import denoiser_settings, times, told
from undiffuse.recipes.denoiser_settings import network as widened
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import KIND, Recipe
from undiffuse.recipes.settings import Train
from undiffuse.recipes.starting import Init

GIVEN = (  # what the data says; a network takes what it has a field for
    *("channels", "classes", "shape", "size", "features", "dimensions", "vocabulary", "vocabularies"),
    *("noise_levels", "conditions", "outputs", "symbol_width", "blur"),
)
PIXELS = (-1.0, 1.0)  # the bounds of a codec that makes pixels


@dataclass(frozen=True)
class Components:
    """What a recipe's tables stand for without the data. kind: of the run; train: the settings of training."""

    kind: type[Any]
    train: Train
    conditions: Mapping[str, ConditionKind]
    objective: Any
    optimiser: Optimiser


def check(recipe: Recipe) -> Components:
    """Build everything that needs no data, so that a mistake shows before anything is loaded or written.

    Raises Refused, naming the field, for unknown components and fields, for wrong types and values, and for what the
    kind of run cannot have.
    """
    conditions = declared(recipe["conditions"], recipe.uses.of)
    if "objective" not in kind_of(recipe).tables:  # what has none is not trained, and says so
        kind_of(recipe).check(recipe, conditions)
    settings = training(recipe)
    recipe.component("data")
    recipe.component("codec")
    if "network" in kind_of(recipe).tables:
        _known("network", recipe["network"])
    check_predicts(recipe)
    trains = objective(recipe)
    _check_pixels(recipe, trains)
    if recipe["init"]:
        recipe.uses.run("init.run", Init.of(recipe["init"]).run)
    check_read(recipe, conditions)
    check_space(recipe, conditions)
    kind_of(recipe).check(recipe, conditions)
    return Components(kind_of(recipe), settings, conditions, trains, optimiser(recipe["optimiser"]))


def check_denoising(recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
    """Build what a network that reads noisy data needs besides, a process and what its output means.

    conditions: those that the network takes. Raises Refused, naming the field, for tables that do not go together, and
    for parameterizations that are undefined at the schedule's noisy end.
    """
    process_tables.check(recipe.tables)
    dynamics = process(recipe)
    if recipe["parameterization"]:
        _check_scales(recipe, dynamics)
    check_network(recipe, conditions, dynamics)
    families.check(objective(recipe), dynamics)
    _check_embedding(recipe, objective(recipe))
    _check_jumps(recipe, objective(recipe))
    told = denoiser_settings(recipe).guidance_input is not None
    if objective(recipe).needs_null(told) and not any(condition.drop for condition in conditions.values()):
        raise Refused(
            f"objective {recipe['objective']['name']!r} with guidance needs a condition that training drops at times: "
            "set conditions.label.drop = 0.1, or objective.guidance = 1 without denoiser.guidance_input"
        )


def kind_of(recipe: Recipe) -> Any:
    """The class of the run that a recipe trains."""
    return registry.get("models", recipe.kind)


def _check_scales(recipe: Recipe, dynamics: Process) -> None:
    parameterization = recipe.component("parameterization")
    try:
        parameterization.coefficients(*dynamics.schedule.at(1.0, torch.empty(0, dtype=torch.float64)))
    except Refused as error:
        name = recipe["schedule"]["name"]
        raise Refused(
            f"parameterization {recipe['parameterization']['name']!r} with schedule {name!r}, whose alpha is 0 at "
            f"t = 1: {error}"
        ) from None


def _check_embedding(recipe: Recipe, trains: Objective) -> None:
    """Raises Refused unless embeddings, and the objective that trains them, come together."""
    embedding, name = denoiser_settings(recipe).embedding, recipe["objective"]["name"]
    if trains.embeds != bool(embedding):
        raise Refused(
            f"denoiser.embedding = {embedding} goes with objective.name = 'diffusion_lm', not {name!r}"
            if embedding
            else f"objective {name!r} trains embeddings of tokens: set denoiser.embedding, as 16"
        )
    if embedding and not process(recipe).schedule.steps:
        raise Refused("embeddings begin with the noise of a schedule's first step: schedule.name = 'sqrt'")


def _check_jumps(recipe: Recipe, trains: Objective) -> None:
    """Raises Refused unless the objective trains what the denoiser is said to land on."""
    asked, name = denoiser_settings(recipe).jumps, recipe["objective"]["name"]
    if asked not in trains.jumps:
        able = " or ".join(f'"{each}"' for each in sorted(trains.jumps))
        raise Refused(f"objective {name!r} does not train {WORDS[asked]}: set denoiser.jumps = {able}, not {asked!r}")


def _check_pixels(recipe: Recipe, trains: Objective) -> None:
    """Raises Refused for a loss that reads pixels where the codec makes other numbers, such as latents."""
    if trains.of_pixels and recipe.component("codec").bounds != PIXELS:
        name = recipe["codec"]["name"]
        raise Refused(
            f"loss {trains.of_pixels[0]!r} reads pixels in [-1, 1], and codec {name!r} makes other numbers of the "
            "data: take codec.name = 'pixels', or losses that read any numbers, such as l1 and laplacian"
        )


def training(recipe: Recipe) -> Train:
    """The [train] table; raises Refused for unknown or missing fields and values that make no sense."""
    values = registry.check(Train, recipe["train"], owner="train")
    if "steps" not in values:
        raise Refused("train needs steps: how many optimiser steps to take")
    return Train(**values)


def process(recipe: Recipe, codec: Codec | None = None) -> Process:
    """The [process] table (Gaussian if there is none) on the recipe's schedule; codec: knows the data's vocabulary."""
    with torch.device("cpu"):  # its numbers are computed with, even where its network is only sketched
        return process_tables.process(recipe["process"], recipe.component("schedule"), codec, recipe.arrays)


def objective(recipe: Recipe) -> Any:
    """The [objective] table; a field that is a component itself is a name or a table."""
    return recipe.component("objective")


def predictor(about: Description) -> Predictor:
    """The network with its first weights, wrapped as a denoiser of what a run's description says."""
    recipe, codec = about.recipe, about.codec
    process_tables.check(recipe.tables)
    dynamics: Any = process(recipe, codec)
    network = _network(about, len(about.classes), dynamics)
    settings = denoiser_settings(recipe)
    with torch.device("cpu"):
        known = settings.jumps, settings.guidance_input, times(recipe, dynamics)
    return Predictor(network, dynamics, _head(recipe, dynamics, codec), *known)


def _head(recipe: Recipe, dynamics: Any, codec: Any) -> Head:
    """What the network's output means, by the tables [parameterization] and [denoiser]."""
    settings, symbols = denoiser_settings(recipe), codec.vocabulary
    if dynamics.family == "mixed":
        rows = Rows(codec.numbers, len(codec.vocabularies))
        heads: dict[str, Head] = {category(i): TokenHead("plug_in", size) for i, size in enumerate(codec.vocabularies)}
        if rows.numbers:
            heads[NUMBERS] = recipe.component("parameterization")
        return PartsHead(heads, rows)
    if not recipe["parameterization"]:
        return TokenHead(settings.output, symbols or None)
    parameterization = recipe.component("parameterization")
    if settings.embedding:
        return EmbeddingHead(parameterization, dynamics.schedule, symbols, settings.embedding)
    head = parameterization if settings.variance == "none" else LearnedVariance(parameterization, settings.variance)
    return BoundedHead(head, *codec.bounds) if settings.bounded and codec.bounds else head


def reading(about: Description, outputs: int) -> tuple[nn.Module, Any, Parameterization]:
    """The network with its first weights, process and parameterization of what reads items, with noise or without, and
    gives so many numbers.
    """
    dynamics: Any = process(about.recipe, about.codec)
    network = _network(replace(about, conditions={}), outputs, dynamics)
    return network, dynamics, about.recipe.component("parameterization")


def _network(about: Description, classes: int, dynamics: Process) -> nn.Module:
    """classes: how many it is told of, or tells apart."""
    recipe, shape, conditions = about.recipe, about.shape, about.conditions
    check_network(recipe, conditions, dynamics, shape)
    shape = (embedding, *shape) if (embedding := denoiser_settings(recipe).embedding) else shape
    vocabulary = 0 if recipe["parameterization"] else dynamics.vocabulary  # values have none
    given: dict[str, Any] = {
        "channels": shape[0],
        "classes": classes,
        "shape": shape,
        "size": shape[-1],
        "features": shape[0],
        "dimensions": len(shape) - 1,
        "vocabulary": vocabulary,
        "vocabularies": process_tables.vocabularies(dynamics),
        "noise_levels": dynamics.schedule.steps,
        "conditions": {key: c.spec for key, c in conditions.items() if not (c.counts_classes or c.masks)}
        | told(recipe)
        | dict(about.codec.adds),
        "blur": about.codec.blurs,
    }
    with in_float32():
        return registry.build("networks", widened(recipe, shape[0]), **given)


def _known(table: str, fields: Mapping[str, Any]) -> type:
    """The component's class, once its fields are known to be its own."""
    if "name" not in fields:
        raise Refused(f"the table [{table}] needs a name; there are: {', '.join(registry.names(KIND[table]))}")
    component = registry.get(KIND[table], str(fields["name"]))
    own = {key: value for key, value in fields.items() if key != "name"}
    registry.check(component, own, owner=f"{table} {fields['name']!r}")
    return component
