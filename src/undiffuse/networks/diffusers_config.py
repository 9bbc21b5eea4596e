"""The fields of the config.json of a diffusers model: those that mean something here, and what the others must be."""

from collections.abc import Mapping, Set
from typing import Any

from undiffuse.core.errors import Refused


def known_fields(
    config: Mapping[str, Any],
    kind: str,
    ours: str,
    defaults: Mapping[str, Any],
    only: Mapping[str, tuple[Any, ...]],
    free: Set[str],
) -> dict[str, Any]:
    """The config of a model of this kind, with the defaults of the fields that it leaves out.

    only: the values of other fields that `ours` knows; free: fields that change nothing. Raises Refused, naming the
    field, for any other.
    """
    said = {name: value for name, value in config.items() if not name.startswith("_")}
    for name, value in said.items():
        if name not in defaults and name not in free and value not in only.get(name, ()):
            able = f"only {' or '.join(map(repr, only[name]))}" if name in only else "no such field"
            raise Refused(f"this {kind} has {name} = {value!r}; {ours} has {able}")
    return {**defaults, **said}
