"""Names to components: the folder is the list, so a new component is one new file."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from undiffuse.core import aliases
from undiffuse.core.aliases import key
from undiffuse.core.errors import Refused, near, unknown

KINDS = {
    "schedules": "undiffuse.core.schedules",
    "scales": "undiffuse.core.scales",
    "times": "undiffuse.core.times",
    "samplers": "undiffuse.samplers",
    "guidance": "undiffuse.guidance",
    "networks": "undiffuse.networks",
    "objectives": "undiffuse.objectives",
    "codecs": "undiffuse.codecs",
    "data": "undiffuse.data",
    "features": "undiffuse.features",
    "metrics": "undiffuse.metrics",
}
INNER = {"times": "times", "predictor": "samplers"}  # fields of a component that are components themselves


def names(kind: str) -> list[str]:
    """The names of a kind's components, sorted; raises Refused for an unknown kind."""
    return sorted(_components(_package(kind)))


def get(kind: str, name: str) -> type:
    """The component's class by its name or another one, see `aliases`; spelling may mix `-`, `_` and case.

    Raises Refused with the nearest name.
    """
    components = _components(_package(kind))
    by_key = {key(known): known for known in components}
    asked = name if key(name) in by_key else aliases.meant(kind, name)[0]
    if key(asked) not in by_key:
        raise unknown(kind, name, components, aliases.names(kind))
    return components[by_key[key(asked)]]()


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
    """`build` of a table in which fields that are components themselves are names or tables."""
    inside = {
        field: build(inner, table[field] if isinstance(table[field], Mapping) else {"name": table[field]})
        for field, inner in INNER.items()
        if field in table
    }
    return build(kind, {**table, **inside})


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


def face(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a folder of components, so that `samplers.DDIM` imports its file when it is
    first used.
    """

    def load(name: str) -> Any:
        for stem, component in _components(package).items():
            if key(stem) == key(name) and component().__name__ == name:
                return component()
        raise AttributeError(f"module {package!r} has no attribute {name!r}; it has: {', '.join(listing())}")

    def listing() -> list[str]:
        return sorted(component().__name__ for component in _components(package).values())

    return load, listing


def _package(kind: str) -> str:
    if kind not in KINDS:
        raise unknown("the registry", kind, KINDS)
    return KINDS[kind]


@cache
def _components(package: str) -> dict[str, Callable[[], type]]:
    """Name -> function that imports and returns the class; a folder is read, a file is imported."""
    module = importlib.import_module(package)
    if not hasattr(module, "__path__"):
        public = getattr(module, "__all__", ())
        own = [
            c for c in vars(module).values() if inspect.isclass(c) and (c.__module__ == package or c.__name__ in public)
        ]
        return {
            _snake(c.__name__): (lambda c=c: c)
            for c in own
            if not inspect.isabstract(c) and not c.__name__.startswith("_")
        }
    found: dict[str, Callable[[], type]] = {}
    for info in pkgutil.iter_modules(module.__path__):
        if _declares(Path(module.__path__[0]) / f"{info.name}.py", info.name):
            found[info.name] = cache(partial(_class_of, f"{package}.{info.name}", info.name))
    return found


def _declares(file: Path, stem: str) -> bool:
    """Whether the file has a concrete class of its own name that implements something.

    An interface lives in such a file too, but is abstract; a value that components share has neither base nor call.
    """
    if stem.startswith("_") or not file.exists():
        return False
    text = file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("class ")]
    heads = {line[6:].split("(")[0].split(":")[0].strip().lower(): line for line in lines}
    head = heads.get(stem.replace("_", ""), "(ABC)")
    return "ABC)" not in head and ("(" in head or "def __call__" in text)


def _class_of(module_name: str, stem: str) -> type:
    module = importlib.import_module(module_name)
    return next(c for n, c in vars(module).items() if n.lower() == stem.replace("_", "") and inspect.isclass(c))


def _choices(hint: Any) -> list[str]:
    """The words that a type allows, wherever in it they stand."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for inner in get_args(hint) for word in _choices(inner)]


def _snake(name: str) -> str:
    return "".join(f"_{c}" if c.isupper() and i and name[i - 1].islower() else c for i, c in enumerate(name)).lower()


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
