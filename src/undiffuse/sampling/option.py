"""What a field of a request declares of itself, and the JSON that is made of it."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from undiffuse.core.errors import Refused, unknown


@dataclass(frozen=True)
class Option:
    """How a field is asked for.

    help: what it is, for people. json: its type in JSON; of a command line, too, where nothing reads its word.
    read: what a word of the command line means, or all words of a flag that may be `repeated`. flag: where it is not
    the field's name. metavar: how such a word looks. most: the largest number. recipe: whether a recipe's [sampler]
    table may say it. typed: whether it has a flag.
    """

    help: str
    json: Any
    read: Callable[[Any], Any] | None = None
    flag: str = ""
    metavar: str | None = None
    most: int | None = None
    repeated: bool = False
    recipe: bool = False
    typed: bool = True


def option(default: Any, help: str, json: Any, **how: Any) -> Any:
    """A field with its default and its `Option`."""
    about: dict[str, Any] = {"metadata": {"option": Option(help, json, **how)}}
    return field(default_factory=dict, **about) if default == {} else field(default=default, **about)


def options(request: type) -> dict[str, Option]:
    """How each field of a request is asked for, by its name."""
    return {each.name: each.metadata["option"] for each in fields(request)}


def schema(request: type) -> dict[str, Any]:
    """The JSON Schema of a request, for a server's documentation."""
    return _model(request).model_json_schema()


def checked(request: type, said: str | Mapping[str, Any], owner: str) -> dict[str, Any]:
    """The fields of a request in a text of JSON, whose types must be exact, or in a table of a recipe.

    Raises Refused, by the owner and the field, for others.
    """
    from pydantic import ValidationError

    model = _model(request)
    try:
        found = model.model_validate_json(said, strict=True) if isinstance(said, str) else model.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            raise unknown(owner, name, options(request)) from None
        raise Refused(f"{owner}: {name} = {first['input']!r} does not fit ({first['msg'].lower()})") from None
    return {name: getattr(found, name) for name in found.model_fields_set}


@cache
def _model(request: type) -> Any:
    """The fields as a model of pydantic."""
    from pydantic import ConfigDict, create_model
    from pydantic import Field as Declared

    declared: dict[str, Any] = {}
    for each in fields(request):
        about: Option = each.metadata["option"]
        least = None if about.most is None else 0
        declared[each.name] = (about.json, Declared(default_of(each), description=about.help, ge=least, le=about.most))
    return create_model(request.__name__, __config__=ConfigDict(extra="forbid"), **declared)


def default_of(each: "Field[Any]") -> Any:
    """What a field is where nobody says it."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def as_json(value: Any) -> Any:
    """A value in JSON's types: of a component its name and fields."""
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    if isinstance(value, float) and value == float("inf"):
        return "inf"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        from undiffuse.core.registry import name_of

        return {"name": name_of(value), **as_json(asdict(value))}
    return str(getattr(value, "__name__", value))  # a function's name
