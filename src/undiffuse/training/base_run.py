"""What a run that stands on another takes over from it: tables of its recipe, codec, conditions and classes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import renumber
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe

OWN = ("objective", "sampler")  # tables that it may have in the base's place


def standing(recipe: Recipe) -> tuple[Recipe, Any]:
    """The recipe with all that its base says in its place, and that base; a recipe without one as it is, and None.

    Its conditions are the base's, of which it may say fields of its own such as `drop`, and its own. Raises Refused for
    a table that is the base's and says otherwise.
    """
    kind = build.kind_of(recipe)
    base = kind.base_of(recipe)
    if base is None:
        return recipe, None
    tables: dict[str, Any] = {}
    for table in kind.inherits:
        mine, its = recipe[table], base.recipe[table]
        if mine and table in OWN:
            continue
        for field, value in mine.items():
            if value != its.get(field):
                raise Refused(
                    f"{table}.{field} = {value!r}, and a run of kind {recipe.kind!r} has that of its base, "
                    f"{its.get(field)!r}: leave [{table}] out"
                )
        tables |= {table: its} if its else {}
    mine, its = recipe["conditions"], base.recipe["conditions"]
    tables["conditions"] = {name: {**its.get(name, {}), **mine.get(name, {})} for name in (*its, *mine)}
    return recipe.with_tables(**tables), base


def known_to(base: Any, data: Dataset) -> Dataset:
    """The data with classes counted as the base knows them; raises Refused for numbers of another dtype."""
    dtype = str(data.x.dtype)
    if dtype != base.data_dtype:
        raise Refused(f"{data.name} has {dtype}, and the base was trained on {base.data_dtype}: give such data")
    return renumber(data, base.classes) if base.classes and data.classes != base.classes else data


def conditions_of(
    base: Any, declared: Mapping[str, ConditionKind], fitted: Mapping[str, ConditionKind]
) -> dict[str, ConditionKind]:
    """The fitted conditions, those of the base as it knows them, each dropped as often as the recipe declares.

    Raises Refused for one that the data have in another form, or of other channels or classes.
    """
    found = dict(fitted)
    for name, known in base.conditions.items():
        (form, shape), (its, wanted) = fitted[name].spec, known.spec
        if form != its or shape[:1] != wanted[:1]:
            raise Refused(
                f"conditions.{name} is {fitted[name].summary()} in the data, and {known.summary()} for the base"
            )
        found[name] = replace(known, drop=declared[name].drop)
    return found


def refuse_shape(base: Any, shape: tuple[int, ...]) -> None:
    """Raises Refused for samples of another shape than the base draws."""
    if shape != tuple(base.shape):
        raise Refused(f"the data come to samples of shape {shape}, and the base draws {tuple(base.shape)}")
