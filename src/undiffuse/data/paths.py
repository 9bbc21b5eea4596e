"""The files that a recipe's [data] table names: absolute in a run, and found again where run and data have moved."""

import glob
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from undiffuse.core import registry
from undiffuse.data.resolve import table
from undiffuse.data.source import Resized, Source
from undiffuse.data.walk import walk
from undiffuse.recipes.recipe import Recipe

PATH = "path"  # the field that is a path whatever it looks like; others may be words
COUNT = re.compile(r"\{\d+\.\.\d+\}")  # of shards


def absolute(recipe: Recipe) -> Recipe:
    """The recipe with the paths of files that are there from the root on, so that a run knows them from any folder."""
    return _changed(recipe, lambda value: os.path.abspath(value) if is_there(value) else value)


def located(recipe: Recipe) -> Recipe:
    """The recipe of a run with the files that are not where it says looked for beside the run.

    Of /a/b/photos that is the nearest of a/b/photos, b/photos and photos in the run's folder or one above it.
    """
    return recipe if recipe.home is None else _changed(recipe, partial(_beside, recipe.home))


def on(recipe: Recipe, data: str | None) -> Recipe:
    """The recipe with its data at another place; None: as it is."""
    return recipe if data is None else absolute(recipe.override(settings(data, recipe)))


def settings(data: str, recipe: Recipe) -> list[str]:
    """What changes a recipe's data to these, in the form that `resolve.table` understands; the path alone, where the
    recipe's own component reads such files.
    """
    described = {PATH: data} if _reads(recipe, data) else table(data)
    return [f"data.{field}={json.dumps(value)}" for field, value in described.items()]


def others(data: str, recipe: Recipe, shape: Sequence[int]) -> dict[str, Any]:
    """The component that reads data that a run is asked about, which need not be its own, and its fields: what becomes
    of an item is as the run's recipe says, such as the size of pictures and the length of sounds. shape: of the run's
    items, which videos are cut and read like.
    """
    own, said = _component(recipe), recipe["data"]
    found: dict[str, Any] = {"name": said["name"], PATH: data} if _reads(recipe, data) else table(data)
    kind = cast(type[Source], registry.get("data", str(found["name"])))
    brought = {name: said[name] for name in kind.brings if name in own.brings and name in said}
    if "frames" in kind.brings and len(shape) == 4:
        brought |= {"frames": shape[1]} | ({"channels": shape[0]} if shape[0] in (1, 3) else {})
    if brought.get("crop"):
        plain = {name: value for name, value in brought.items() if name not in Resized.brings}
        seen = registry.build("data", {**found, **plain}).peek()
        brought = plain if seen is not None and seen.shape == tuple(shape) else brought  # of samples nothing is cut off
    return {"name": found["name"], **brought}


def _component(recipe: Recipe) -> type[Source]:
    return cast(type[Source], registry.get("data", str(recipe["data"].get("name"))))


def _reads(recipe: Recipe, data: str) -> bool:
    """Whether the recipe's own component reads such files in place of what reads them otherwise."""
    own = _component(recipe)
    return bool(own.suffixes) and _has(Path(data), own.suffixes)


def _has(place: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file has one of these endings, or one below a folder has."""
    inside = walk(place).files if place.is_dir() else ()
    return place.suffix.lower() in suffixes or any(file.lower().endswith(suffixes) for file in inside)


def is_there(path: str) -> bool:
    """Whether there is a file or a folder, or of a pattern one."""
    return os.path.exists(path) or next(glob.iglob(COUNT.sub("*", path)), None) is not None


def _changed(recipe: Recipe, change: Callable[[str], str]) -> Recipe:
    fields, component = recipe["data"], cast(type[Source], registry.get("data", str(recipe["data"].get("name"))))
    paths = {name: _each(fields[name], change, name == PATH) for name in component.files if name in fields}
    return recipe if fields == {**fields, **paths} else recipe.with_tables(data={**fields, **paths})


def _each(value: Any, change: Callable[[str], str], is_path: bool) -> Any:
    """The value with every path in it changed; a word without a dot or a slash is none, unless the field says so."""
    if isinstance(value, Mapping):
        return {key: _each(inner, change, is_path) for key, inner in value.items()}
    if isinstance(value, str) and value and (is_path or os.sep in value or Path(value).suffix):
        return change(value)
    return value


def _beside(home: Path, value: str) -> str:
    parts = Path(value).parts[os.path.isabs(value) :]
    if is_there(value):
        return value
    tails = [parts[i:] for i in range(len(parts) if os.path.isabs(value) else 1)]
    near = (str(folder.joinpath(*tail)) for folder in (home, *home.parents) for tail in tails)
    found = next(filter(is_there, near), None)
    if found is None:
        return value
    _tell(value, found)
    return found


@cache
def _tell(value: str, found: str) -> None:
    """Once, however often a run's recipe is read."""
    logging.getLogger("undiffuse").warning("%s is not there; %s is read, which lies beside the run", value, found)
