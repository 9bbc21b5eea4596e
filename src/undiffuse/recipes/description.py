"""What a run's file says about itself, checked before anything is made of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.declared import declared
from undiffuse.conditions.label import LABEL, classes_of
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.uses import Uses

FORMAT = 1
AXES, LARGEST = 4, 2**31  # of a sample: its axes, channels among them, and its numbers
DTYPES = ("uint8", "uint16", "int16", "int64", "float32", "float64")  # of data; a codec's `dtype` is one of them
KNOWN = {"format", "shape", "conditions", "codec", "parameters", "recipe", "versions", "uses"}


class Described:
    """What is known of a run.

    shape: of one encoded sample, channels first; data_shape: of one in the data's units. conditions: of the data that
    it was trained with, by name. facts: the step, the data's summary, library versions ... in JSON's types.
    """

    recipe: Recipe
    shape: tuple[int, ...]
    conditions: Mapping[str, ConditionKind]
    codec: Codec
    facts: Mapping[str, Any]

    @property
    def data_shape(self) -> tuple[int, ...]:
        return self.codec.decoded_shape(self.shape)

    @property
    def data_dtype(self) -> str:
        """The dtype of the data, by its name."""
        return str(self.facts.get("data", {}).get("dtype", "float32"))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; () where there are none."""
        return classes_of(self.conditions)


@dataclass(frozen=True)
class Description(Described):
    """All of a run but its weights."""

    recipe: Recipe
    shape: tuple[int, ...]
    conditions: Mapping[str, ConditionKind]
    codec: Codec
    facts: Mapping[str, Any] = field(default_factory=dict)

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        """The same with other classes; itself where it has no labels."""
        if LABEL not in self.conditions:
            return self
        label = replace(self.conditions[LABEL], classes=classes)
        return replace(self, conditions={**self.conditions, LABEL: label})

    @classmethod
    def of(cls, about: Mapping[str, Any], what: str, uses: Mapping[str, Any] = MappingProxyType({})) -> "Description":
        """The description in a JSON object; uses: the runs that the recipe's fields name.

        Raises Refused, naming the field, where it lacks or spoils something.
        """
        version = _field(about, "format", int, what)
        if version > FORMAT:
            raise Refused(f"{what} has format {version} and this version reads up to {FORMAT}: update undiffuse")
        shape = tuple(_each(about, "shape", int, what))
        if not 0 < len(shape) <= AXES or min(shape) < 1 or math.prod(shape) > LARGEST:
            raise Refused(f"{what} is broken: samples cannot have the shape {str(shape)[:80]}")
        said = _field(about, "recipe", dict, what)
        tables = _field(said, "tables", dict, what)
        kind = {"kind": _field(said, "kind", str, what)} if "kind" in said else {}
        recipe = Recipe.of(
            _field(said, "name", str, what), {**tables, "about": _field(said, "about", str, what), **kind}
        )
        recipe = replace(recipe, uses=Uses(runs=dict(uses)))
        codec = _field(about, "codec", dict, what)
        if codec.get("dtype", "float32") not in DTYPES:
            raise Refused(
                f"{what}: its codec decodes to {str(codec['dtype'])[:40]!r}, and data are {', '.join(DTYPES)}"
            )
        conditions = declared(_field(about, "conditions", dict, what), recipe.uses.of)
        for name, condition in conditions.items():
            if not condition.fitted:
                raise Refused(f"{what} is broken: its condition {name!r} has no shape and no classes")
        made = registry.build("codecs", codec, runs=recipe.uses.of("codec"))
        facts = {key: value for key, value in about.items() if key not in KNOWN}
        for key, kind in (("step", int), ("data", dict)):
            if key in facts:
                _field(facts, key, kind, what)
        return cls(
            recipe,
            shape,
            {name: condition.within(made) for name, condition in conditions.items()},
            made,
            facts,
        )


def _field(about: Mapping[str, Any], key: str, kind: type, what: str) -> Any:
    value = about.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused(f"{what} is broken: its description lacks or spoils {key!r}")
    return value


def _each(about: Mapping[str, Any], key: str, kind: type, what: str) -> list[Any]:
    values = _field(about, key, list, what)
    return [_field({key: value}, key, kind, what) for value in values]
