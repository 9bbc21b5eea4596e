"""JSON that anybody may have written: parsed to numbers, texts, lists and objects, or refused."""

import json
import math
from collections.abc import Iterable
from typing import Any

from undiffuse.core.errors import Refused

DEEPEST = 64  # lists and objects inside each other
LONGEST = 2**64  # no integer that a program writes is larger


def parse_json(text: str, what: str) -> dict[str, Any]:
    """The JSON object in a text.

    Raises Refused if it is broken or something else, and for what other programs read in different ways or choke on: a
    key that is there twice, NaN and infinities, integers beyond 64 bits, half a surrogate pair, very deep nesting.
    """
    try:
        content = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
        )
        refuse_deep([content])
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what} is broken: {error}") from error
    if not isinstance(content, dict):
        raise Refused(f"{what} is broken: it holds no JSON object")
    return content


def refuse_deep(level: Iterable[Any]) -> None:
    """Raises ValueError if these values hold lists and dictionaries that are nested too deep to be walked."""
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEEPEST} deep")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"{twice[:80]!r} is there twice")
    return found


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large")
    return value


def _integer(text: str) -> int:
    value = int(text)  # refuses thousands of digits itself
    if abs(value) >= LONGEST:
        raise ValueError(f"{text[:20]}... has more than 64 bits")
    return value


def utf8(name: str) -> bool:
    """Whether the name of a file or folder, or a word of a command line, is UTF-8: what is not has lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
