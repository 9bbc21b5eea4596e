"""The run that another stands on, frozen: what is taken over from it of tables, codec, conditions and classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import renumber
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.items import alike

OWN = ("objective", "sampler")  # tables that a run may have in the base's place


def standing(recipe: Recipe) -> "tuple[Recipe, BaseRun | None]":
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
    return recipe.with_tables(**tables), BaseRun(base)


@dataclass(frozen=True, eq=False)
class BaseRun:
    """run: the one that a recipe names as its base; asked as `StartingRun` is."""

    run: Any
    keeps: bool = True

    def data(self, learned: Dataset, held_out: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """What is learned from and what is held out, with the classes counted as the base knows them."""
        return self._known(learned), held_out and self._known(held_out)

    def conditions(self, found: Mapping[str, ConditionKind]) -> Mapping[str, ConditionKind]:
        """The conditions, those of the base as it knows them, each dropped as often as the recipe says.

        Raises Refused for one that the data have in another form, or of other channels or classes.
        """
        for name, known in self.run.conditions.items():
            (form, shape), (its, wanted) = found[name].spec, known.spec
            if form != its or shape[:1] != wanted[:1]:
                raise Refused(
                    f"conditions.{name} is {found[name].summary()} in the data, and {known.summary()} for the base"
                )
        mine = {name: replace(known, drop=found[name].drop) for name, known in self.run.conditions.items()}
        return {name: mine.get(name, condition) for name, condition in found.items()}

    def codec(self, learned: Dataset) -> Codec:
        """The base's; raises Refused for data of another dtype."""
        alike(learned.x.dtype, self.run.codec, learned.name)
        return self.run.codec

    def refuse_shape(self, found: tuple[int, ...]) -> None:
        """Raises Refused for encoded items of another shape than the base's."""
        if found != tuple(self.run.shape):
            raise Refused(f"the data come to samples of shape {found}, and the base draws {tuple(self.run.shape)}")

    def _known(self, data: Dataset) -> Dataset:
        classes = self.run.classes
        return renumber(data, classes) if classes and data.classes != classes else data
