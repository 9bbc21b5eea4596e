"""Runs that a recipe's codec needs and names by a recipe: they are trained first, inside its run folder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from undiffuse.core import registry
from undiffuse.data.predictive import TARGET, refuse_untold
from undiffuse.progress import LOGGER
from undiffuse.recipes import build
from undiffuse.recipes.bundled import names
from undiffuse.recipes.recipe import Recipe
from undiffuse.training.loop import Training


def folders(recipe: Recipe) -> list[str]:
    """The fields of the recipe's codec that name a recipe, or a file of one; each run's folder has the field's name."""
    table = recipe["codec"]
    fields = registry.run_fields(registry.get("codecs", str(table.get("name"))))
    said = {name: str(table[name]) for name in fields if name in table}
    return [name for name, of in said.items() if (of in names() or of.endswith(".toml")) and not os.path.isdir(of)]


def without(recipe: Recipe) -> Recipe:
    """The recipe without these runs, which are not there yet; what has no run in their place is checked later."""
    table = {name: value for name, value in recipe["codec"].items() if name not in folders(recipe)}
    return recipe.with_tables(codec=table)


def trained_first(recipe: Recipe, folder: Path, resume: bool, train: Callable[..., Training[Any]]) -> Recipe:
    """The recipe with the folders of these runs, trained on the same data.

    resume: go on with one that was interrupted, and take one that is there. train: prepares a training. Raises Refused
    as that does, and KeyboardInterrupt where a run is stopped: it is saved then.
    """
    for name in folders(recipe):
        first, out = _recipe(recipe, name), folder / name
        LOGGER.info("%s is trained first, by the recipe %s, into %s", name, recipe["codec"][name], out)
        training = train(first, out=out, resume=resume and out.exists())
        try:
            training.run()
        except (KeyboardInterrupt, SystemExit):
            LOGGER.warning("%s comes first: the whole training goes on with the same command and --resume", name)
            raise
        recipe = recipe.override([f"codec.{name}={out}"])
    return recipe


def _recipe(recipe: Recipe, name: str) -> Recipe:
    """The recipe of such a run on the data of the one that needs it; it tells classes where the data have them.

    It holds out at least as much, the same items among them, and so has seen none that the other holds out; nothing,
    where the other holds out nothing. Raises Refused for data without a target.
    """
    first = Recipe.find(recipe["codec"][name])
    mine, own = build.training(recipe), build.training(first)
    held_out = max(mine.held_out, own.held_out) if mine.held_out else mine.held_out
    train = {**first["train"], "seed": mine.seed, "held_out": held_out}
    tables: dict[str, Any] = {"data": recipe["data"], "train": train}
    if TARGET in first["conditions"]:
        data = recipe.component("data").load()
        refuse_untold(data)
        tables |= {} if TARGET in data.conditions else {"conditions": {"label": {}}}
    return first.with_tables(**tables)
