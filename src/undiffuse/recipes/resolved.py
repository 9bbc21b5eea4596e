"""A recipe with every field written out, so that a default that changes one day changes no old run."""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from undiffuse.conditions.label import LABEL
from undiffuse.core import registry
from undiffuse.recipes import process_tables
from undiffuse.recipes.build import GIVEN
from undiffuse.recipes.recipe import KIND, Recipe
from undiffuse.recipes.settings import Train
from undiffuse.recipes.starting import PARTS


def resolve(recipe: Recipe) -> Recipe:
    """The recipe with every field written out, so that a default that changes one day changes no old run."""
    tables: dict[str, Any] = _dynamics(recipe) if recipe["schedule"] else {}
    for table in ("data", "network", "bottleneck", "scene", "parameterization", "objective", "sampler"):
        if recipe[table]:
            tables[table] = _full(KIND[table], recipe[table])
    if conditions := recipe["conditions"]:
        tables["conditions"] = {name: _condition(table) for name, table in conditions.items()}
    for name, part in PARTS.items():
        if name in recipe["init"]:
            tables["init"] = {**recipe["init"], **tables.get("init", {}), name: _defaults(part) | recipe["init"][name]}
    tables["optimiser"] = {"name": "adamw"} | recipe["optimiser"]
    if tables["optimiser"]["name"] in registry.names("optimisers"):
        tables["optimiser"] = _full("optimisers", tables["optimiser"])
    tables["train"] = _defaults(Train) | recipe["train"]
    return recipe.with_tables(**tables)


def _condition(table: Mapping[str, Any]) -> dict[str, Any]:
    """A condition's table with the fields' defaults; those that the data decide, and runs, are left as they are."""
    component: Any = registry.get("conditions", str(table.get("kind", LABEL)))
    own = [each for each in fields(component) if not each.metadata.get("from_data") and not each.metadata.get("run")]
    defaults = {each.name: each.default for each in own if each.default not in ((), "")}
    kind = next(name for name in registry.names("conditions") if registry.get("conditions", name) is component)
    return {**defaults, **table, "kind": kind}


def _dynamics(recipe: Recipe) -> dict[str, Any]:
    """The tables [process] and [schedule]."""
    name = process_tables.kind(recipe["process"])
    table = _full("schedules", recipe["schedule"])
    clock = recipe.component("schedule")  # which may find a field from the others
    found = {name: getattr(clock, name) for name in registry.fields(type(clock)) if name not in table}
    return {
        "process": {"name": name, **_defaults(process_tables.PROCESSES[name]), **recipe["process"]},
        "schedule": table | {name: value for name, value in found.items() if isinstance(value, float)},
    }


def _full(kind: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """A component's table with the fields' defaults filled in, those excepted that the data decides."""
    if "name" not in table:
        return dict(table)  # a sampler's steps and guidance, the sampler itself being the default
    defaults = {k: v for k, v in _defaults(registry.get(kind, str(table["name"]))).items() if k not in GIVEN}
    return {"name": table["name"], **defaults, **table}


def _defaults(component: type) -> dict[str, Any]:
    """A component's fields that have a plain default."""
    found = {
        name: p.default for name, p in registry.fields(component).items() if p.default is not inspect.Parameter.empty
    }
    return {
        name: list(v) if isinstance(v, tuple) else v
        for name, v in found.items()
        if isinstance(v, str | int | float | bool | tuple)
    }
