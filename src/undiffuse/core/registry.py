"""Names to components: the folder is the list, so a new component is one new file."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from undiffuse.core import components
from undiffuse.core.components import KINDS
from undiffuse.core.errors import Refused, near, unknown
from undiffuse.core.plugins import Plugin, plugin_of, plugins

USE = 'undiffuse.use("FILE.py")'
Runs = Callable[[str, str, type], Any]  # (field, path of a run folder, interface) -> what the field holds


def names(kind: str) -> list[str]:
    """The names of a kind's components, sorted; raises Refused for an unknown kind."""
    return sorted(_components(kind))


def get(kind: str, name: str) -> type:
    """The component's class by its name or one of its aliases; spelling may mix `-`, `_` and case.

    Raises Refused with the nearest name.
    """
    found = _components(kind)
    if name in found:
        return found[name].load()
    by_key = {components.key(known): known for known in found}
    asked = name if components.key(name) in by_key else _meant(kind, name)[0]
    if components.key(asked) not in by_key:
        also = [alias for each in found.values() for alias in each.constant("aliases", ())]
        raise Refused(f"{unknown(kind, name, found, also)}; if it is your own, name its file: {USE}")
    return found[by_key[components.key(asked)]].load()


def aliases(kind: str, name: str) -> Mapping[str, Mapping[str, Any]]:
    """The other names of a component, and the fields that each sets."""
    return components.as_aliases(constant(kind, name, "aliases", ()))


def constant(kind: str, name: str, attribute: str, default: Any = None) -> Any:
    """A literal that a component's class assigns to an attribute in its own body, else the default; a component of the
    package is not imported for it.
    """
    return _components(kind)[name].constant(attribute, default)


def canonical(kind: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """A component's table with its own name in the place of an alias; what the table says goes first."""
    if not isinstance(table.get("name"), str):
        return dict(table)
    name, said = _meant(kind, table["name"])
    return {"name": name, **said, **{k: v for k, v in table.items() if k != "name"}}


def name_of(component: Any) -> str:
    """The name of a component: its file's."""
    made: type = component.__class__
    own = plugin_of(made)
    return own.name if own else made.__module__.rpartition(".")[2]


def fields(component: type) -> dict[str, inspect.Parameter]:
    """The constructor's parameters by name: what a person may set."""
    return dict(_parameters(component))


def run_fields(component: type) -> list[str]:
    """The constructor's parameters that may be the folder of a run."""
    kinds = {name: {components.kind_of(each) for each in _classes(hint)} for name, hint in _hints(component).items()}
    return [name for name in fields(component) if any(k and KINDS[k].may_be_run for k in kinds.get(name, ()))]


def build(kind: str, table: Mapping[str, Any], *, runs: Runs | None = None, **given: Any) -> Any:
    """Make the component that a table describes.

    table: `name` picks the class, every other key is one of its constructor's fields and is checked against its type.
    A field that is a component itself, by its annotation, may be a name or a table.
    runs: opens a run folder for a field whose annotation is Run, Denoiser, Codec or LatentSpace; called with the
    field's name ("teacher", of a field of a field "teacher.denoiser"), the path and the annotated class.
    given: what the program knows (channels, classes ...), passed on where the constructor has such a field and the
    table is silent.
    Raises Refused for an unknown name or field (naming the nearest), a wrong type,
    a missing field or a value the class refuses.
    """
    if "name" not in table:
        raise Refused(f"the table of {kind} needs a name; it has: {', '.join(names(kind))}")
    name, table = str(table["name"]), canonical(kind, table)
    component, owner = get(kind, name), f"{kind} {name!r}"
    own = {k: v for k, v in table.items() if k != "name"}
    values = check(component, own, owner, runs=runs, **given)
    known = fields(component)
    values |= {k: v for k, v in given.items() if k in known and k not in values}
    missing = [k for k, p in known.items() if p.default is p.empty and k not in values]
    if missing:
        raise Refused(f"{owner} needs {', '.join(missing)}")
    return component(**values)


def _nested(field: str, value: Any, hint: Any, owner: str, runs: Runs | None, given: Mapping[str, Any]) -> Any:
    """A field's value, with the components that its annotation asks for in the place of their names and tables."""
    classes = _classes(hint)
    wanted = next(((k, each) for each in classes if (k := components.kind_of(each))), None)
    named = isinstance(value, str) and str not in classes  # else the component reads the text itself
    if wanted is None or not (named or isinstance(value, Mapping | list | tuple)):
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):  # one alone, or names between commas
            value = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
        hint = get_args(hint)[0]
    if isinstance(value, list | tuple):
        each = cast("Sequence[Any]", value)
        return [_nested(f"{field}.{i}", inner, hint, owner, runs, given) for i, inner in enumerate(each)]
    kind, interface = wanted
    table = cast("Mapping[str, Any]", {"name": value} if isinstance(value, str) else value)
    about = KINDS[kind]
    if isinstance(value, str) and about.may_be_run and (about.runs_alone(interface) or not _has(kind, value)):
        if runs is None:
            raise Refused(f"{owner}: {field} = {value!r} is the path of a run; give the {interface.__name__} itself")
        return runs(field, value, interface)
    return build(kind, table, runs=runs and _below(field, runs), **given)


def _below(field: str, runs: Runs) -> Runs:
    """`runs` for the fields of a field."""
    return lambda inner, path, interface: runs(f"{field}.{inner}", path, interface)


def interface(kind: str) -> type:
    """The class that the components of a kind implement."""
    module, _, name = _kind(kind).interface.partition(":")
    return getattr(importlib.import_module(module), name)


def check(
    component: type, values: Mapping[str, Any], owner: str, *, runs: Runs | None = None, **given: Any
) -> dict[str, Any]:
    """The values, converted to the types of the component's fields, see `build`;
    raises Refused for unknown fields and wrong types.
    """
    from pydantic import ValidationError

    known, hints = fields(component), _hints(component)
    checked: dict[str, Any] = {}
    for field, value in values.items():
        if field not in known:
            raise unknown(owner, field, known)
        hint = hints.get(field, Any)
        number = _numbered(component) and isinstance(value, int) and not isinstance(value, bool)
        if hint == tuple[str, ...] and (number or isinstance(value, str)):
            value = tuple(part.strip() for part in str(value).split(","))  # one name, or some between commas
        value = _nested(field, value, hint, owner, runs, given)
        try:
            checked[field] = _adapter(component, field).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            reason = reason[:1].lower() + reason[1:]
            close = near(value, _choices(hint)) if isinstance(value, str) else ""
            raise Refused(f"{owner}: {field} = {value!r} does not fit {_type_name(hint)} ({reason}){close}") from None
    return checked


def face(kind: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a folder of components, so that `samplers.DDIM` imports its file when it is
    first used.
    """

    def load(name: str) -> Any:
        for each in _components(kind).values():
            if components.key(name) in each.called and each.load().__name__ == name:
                return each.load()
        raise AttributeError(f"undiffuse has no {kind} {name!r}; it has: {', '.join(listing())}")

    def listing() -> list[str]:
        return sorted(each.load().__name__ for each in _components(kind).values())

    return load, listing


def _kind(kind: str) -> components.Kind:
    if kind not in KINDS:
        raise unknown("the registry", kind, KINDS)
    return KINDS[kind]


def _components(kind: str) -> dict[str, components.ComponentFile | Plugin]:
    """Name -> where the component is; a folder is read, nothing is imported."""
    _kind(kind)
    return {**components.files(kind), **plugins(kind)}


def _has(kind: str, name: str) -> bool:
    own = {components.key(known) for known in _components(kind)}
    return components.key(_meant(kind, name)[0]) in own


def _meant(kind: str, name: str) -> tuple[str, Mapping[str, Any]]:
    """The component of an alias, and the fields that the alias sets; the name itself if it is none."""
    asked, found = components.key(name), _components(kind)
    if asked in map(components.key, found):
        return name, {}
    for component, each in found.items():
        for alias, said in components.as_aliases(each.constant("aliases", ())).items():
            if components.key(alias) == asked:
                return component, said
    return name, {}


@cache
def _parameters(component: type) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(component).parameters.items()
    return {name: p for name, p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


@cache
def _hints(component: type) -> Mapping[str, Any]:
    return get_type_hints(component.__init__)


@cache
def _adapter(component: type, field: str) -> Any:
    """What converts a value to the type of a field."""
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=_numbered(component))
    return TypeAdapter(_hints(component).get(field, Any), config=config)


def _numbered(component: type) -> bool:
    """Whether a number in the place of a text is its text, as of column 0 of a table without names."""
    return bool(getattr(component, "numbered", False))


def _classes(hint: Any) -> list[type]:
    """The classes in a type, wherever in it they stand."""
    return [hint] if inspect.isclass(hint) else [found for inner in get_args(hint) for found in _classes(inner)]


def _choices(hint: Any) -> list[str]:
    """The words that a type allows, wherever in it they stand."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for inner in get_args(hint) for word in _choices(inner)]


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
