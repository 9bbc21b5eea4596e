"""Names to components: the folder is the list, so a new component is one new file."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from undiffuse.core import aliases
from undiffuse.core.aliases import key
from undiffuse.core.errors import Refused, near, unknown


@dataclass(frozen=True)
class Kind:
    """Where the components of a kind are. packages: folders of the package, one file a component. interface: the class
    that they implement, `module:Class`. suffix: what a class's name may have behind its file's.
    """

    packages: tuple[str, ...]
    interface: str
    suffix: str


KINDS = {
    "schedules": Kind(("schedules",), "core.schedule:Schedule", "Schedule"),
    "parameterizations": Kind(("parameterizations",), "core.parameterization:Parameterization", "Parameterization"),
    "grids": Kind(("grids",), "core.grid:Grid", "Grid"),
    "time_distributions": Kind(("time_distributions",), "core.time_distribution:TimeDistribution", "TimeDistribution"),
    "samplers": Kind(("samplers",), "core.sampler:Sampler", "Sampler"),
    "guidance": Kind(("guidance",), "core.denoiser:Denoiser", "Guidance"),
    "networks": Kind(("networks",), "", "Network"),
    "objectives": Kind(("objectives",), "core.objective:Objective", "Objective"),
    "codecs": Kind(("codecs",), "codecs.codec:Codec", "Codec"),
    "operators": Kind(("operators",), "", "Operator"),
    "data": Kind(("data.sources", "data.toys"), "data.source:Source", "Data"),
    "features": Kind(("evaluation.features",), "evaluation.features.features:Features", "Features"),
    "metrics": Kind(("evaluation.metrics",), "evaluation.metrics.metric:Metric", "Metric"),
}
NESTED = ("grids", "time_distributions", "samplers")  # kinds whose components may be fields of others


def names(kind: str) -> list[str]:
    """The names of a kind's components, sorted; raises Refused for an unknown kind."""
    return sorted(_components(kind))


def get(kind: str, name: str) -> type:
    """The component's class by its name or another one, see `aliases`; spelling may mix `-`, `_` and case.

    Raises Refused with the nearest name.
    """
    components = _components(kind)
    by_key = {key(known): known for known in components}
    asked = name if key(name) in by_key else aliases.meant(kind, name)[0]
    if key(asked) not in by_key:
        raise unknown(kind, name, components, aliases.names(kind))
    return components[by_key[key(asked)]]()


def name_of(component: Any) -> str:
    """The name that a component has in a recipe: its file's."""
    return type(component).__module__.rpartition(".")[2]


def fields(component: type) -> dict[str, inspect.Parameter]:
    """The constructor's parameters by name: what a recipe table or a command-line flag may set."""
    return {name: p for name, p in inspect.signature(component).parameters.items() if p.kind is not p.VAR_KEYWORD}


def build(kind: str, table: Mapping[str, Any], **given: Any) -> Any:
    """Make the component that a recipe's table describes.

    table: `name` picks the class, every other key is one of its constructor's fields and is checked against its type.
    given: what the program knows (channels, classes ...), passed on where the constructor has such a field and the
    table is silent.
    Raises Refused for an unknown name or field (naming the nearest), a wrong type,
    a missing field or a value the class refuses.
    """
    if "name" not in table:
        raise Refused(f"the table of {kind} needs a name; it has: {', '.join(names(kind))}")
    name, table = str(table["name"]), aliases.table(kind, table)
    component = get(kind, name)
    values = check(component, {k: v for k, v in table.items() if k != "name"}, owner=f"{kind} {name!r}")
    known = fields(component)
    values |= {k: v for k, v in given.items() if k in known and k not in values}
    missing = [k for k, p in known.items() if p.default is p.empty and k not in values]
    if missing:
        raise Refused(f"{kind} {name!r} needs {', '.join(missing)}")
    return component(**values)


def nested(kind: str, table: Mapping[str, Any]) -> Any:
    """`build` of a table in which fields that are components themselves, by their annotation, are names or tables."""
    name = aliases.table(kind, table).get("name")
    hints = get_type_hints(get(kind, str(name)).__init__) if name is not None else {}
    inner = {interface(each): each for each in NESTED}
    inside: dict[str, Any] = {}
    for field, value in table.items():
        found = [inner[hint] for hint in (hints.get(field), *get_args(hints.get(field))) if hint in inner]
        if found and isinstance(value, str | Mapping):
            named = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {"name": value}
            inside[field] = build(found[0], named)
    return build(kind, {**table, **inside})


def interface(kind: str) -> type:
    """The class that the components of a kind implement."""
    module, _, name = _kind(kind).interface.partition(":")
    return getattr(importlib.import_module(f"undiffuse.{module}"), name)


def check(component: type, values: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The values, converted to the types of the component's fields;
    raises Refused for unknown fields and wrong types.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    known = fields(component)
    hints = get_type_hints(component.__init__)
    checked: dict[str, Any] = {}
    for field, value in values.items():
        if field not in known:
            raise unknown(owner, field, known)
        hint = hints.get(field, Any)
        if hint == tuple[str, ...] and isinstance(value, str):  # one name, or some between commas
            value = tuple(part.strip() for part in value.split(","))
        try:
            checked[field] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            close = near(value, _choices(hint)) if isinstance(value, str) else ""
            raise Refused(f"{owner}: {field} = {value!r} does not fit {_type_name(hint)} ({reason}){close}") from None
    return checked


def face(kind: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a folder of components, so that `samplers.DDIM` imports its file when it is
    first used.
    """

    def load(name: str) -> Any:
        for stem, component in _components(kind).items():
            if key(name) in _called(kind, stem) and component().__name__ == name:
                return component()
        raise AttributeError(f"undiffuse has no {kind} {name!r}; it has: {', '.join(listing())}")

    def listing() -> list[str]:
        return sorted(component().__name__ for component in _components(kind).values())

    return load, listing


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise unknown("the registry", kind, KINDS)
    return KINDS[kind]


@cache
def _components(kind: str) -> dict[str, Callable[[], type]]:
    """Name -> function that imports and returns the class; a folder is read, a file is imported."""
    found: dict[str, Callable[[], type]] = {}
    for package in (f"undiffuse.{folder}" for folder in _kind(kind).packages):
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
            file = Path(importlib.import_module(package).__path__[0]) / f"{info.name}.py"
            if _declares(file, _called(kind, info.name)):
                found[info.name] = cache(partial(_class_of, f"{package}.{info.name}", _called(kind, info.name)))
    return found


def _called(kind: str, stem: str) -> tuple[str, str]:
    """What the class of a file may be called, without regard to case: as the file, or with the kind's suffix."""
    return key(stem), key(stem + KINDS[kind].suffix)


def _declares(file: Path, called: tuple[str, ...]) -> bool:
    """Whether the file has a concrete class of its own name that implements something.

    An interface lives in such a file too, but is abstract; a value that components share has neither base nor call.
    """
    if file.stem.startswith("_") or not file.exists():
        return False
    text = file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("class ")]
    heads = {line[6:].split("(")[0].split(":")[0].strip().lower(): line for line in lines}
    head = next((heads[name] for name in called if name in heads), "(ABC)")
    return "ABC)" not in head and ("(" in head or "def __call__" in text)


def _class_of(module_name: str, called: tuple[str, ...]) -> type:
    own = {n.lower(): c for n, c in vars(importlib.import_module(module_name)).items() if inspect.isclass(c)}
    return next(own[name] for name in called if name in own and own[name].__module__ == module_name)


def _choices(hint: Any) -> list[str]:
    """The words that a type allows, wherever in it they stand."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for inner in get_args(hint) for word in _choices(inner)]


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
