"""Values of a request as words of a command line say them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from undiffuse.core.errors import Refused
from undiffuse.sampling.option import Option, as_json

MOST = 1_000_000  # indices in one range


def indices(word: str) -> tuple[int, ...]:
    """The samples that `3,7,10-12` names; raises Refused for other words and for more samples than can be meant."""
    says = f"--indices are numbers from 0 on and ranges of them, such as 3,7,10-12; not {word!r}"
    found: list[int] = []
    for part in word.split(","):
        first, dash, last = (end.strip() for end in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or max(len(first), len(last)) > 18:
            raise Refused(says)
        low, high = int(first), int(last if dash else first)
        if high < low or high - low >= MOST:
            raise Refused(says)
        found += range(low, high + 1)
    return tuple(found)


def settings(words: Sequence[str]) -> dict[str, Any]:
    """The fields that several `field=value` set, as a recipe's [sampler] table would hold them."""
    from undiffuse.recipes.recipe import setting

    found: dict[str, Any] = {}
    for word in words:
        if not word.partition("=")[0].strip() or "=" not in word:
            raise Refused(
                f"cannot read the setting {word!r}; write field=value with a field of the sampler, for example eta=0.5"
            )
        path, value = setting(f"sampler.{word.removeprefix('sampler.')}")
        found[".".join(path[1:])] = value
    return found


def stages(words: Sequence[str], known: Mapping[str, Option]) -> dict[str, dict[str, Any]]:
    """`NAME:FIELD=VALUE`, several of these: fields of the requests of a chain's stages, by stage, in JSON's types.

    known: how each field is read from a word, or from all of its words where it may be `repeated`.
    """
    from undiffuse.recipes.recipe import setting

    found: dict[str, dict[str, Any]] = {}
    several: dict[tuple[str, str], list[str]] = {}
    for word in words:
        name, colon, said = word.partition(":")
        if not (name and colon and "=" in said[1:]):
            raise Refused(f"cannot read the stage setting {word!r}; write STAGE:FIELD=VALUE, for example up:steps=8")
        path, value = setting(f"sampler.{said}")
        field, about = ".".join(path[1:]), known.get(".".join(path[1:]))
        if isinstance(value, str) and about is not None and about.read is not None:
            several.setdefault((name, field), []).append(value)
            value = as_json(about.read(several[name, field] if about.repeated else value))
        found.setdefault(name, {})[field] = value
    return found


def weights(word: str) -> float | dict[str, float]:
    """`4` or `text=4,style=1.5`."""
    says = f"--guidance is a weight or one by each name, as 4 or text=4,style=1.5; not {word!r}"
    if "=" not in word:
        found = numbers(word, says)
        if len(found) != 1:
            raise Refused(says)
        return found[0]
    named: dict[str, float] = {}
    for part in word.split(","):
        name, _, number = part.partition("=")
        if not name.strip():
            raise Refused(says)
        if name.strip() in named:
            raise Refused(f"--guidance has two weights for {name.strip()!r}")
        named[name.strip()] = numbers(number, says)[0]
    return named


def loras(given: Any) -> dict[str, Any]:
    """`PATH:WEIGHT`, or `PATH` with weight 1, one or several of these; weights by path stay as they are."""
    if isinstance(given, Mapping):
        return {str(path): weight for path, weight in given.items()}
    found: dict[str, Any] = {}
    for word in [given] if isinstance(given, str | Path) else given:
        path, colon, number = str(word).rpartition(":")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            path, weight = "", 1.0
        path = path or str(word)
        found[path] = found.get(path, 0.0) + weight
    return found


def interval(word: str) -> tuple[float, ...]:
    """`0.2,5`; `inf` is infinity."""
    says = f"--interval is LOW,HIGH, as 0.2,5; not {word!r}"
    ends = numbers(word, says)
    if len(ends) != 2:
        raise Refused(says)
    return ends


def numbers(word: str, says: str) -> tuple[float, ...]:
    """The numbers of a text with commas, none of them nan; raises Refused, saying so, for other texts."""
    try:
        found = tuple(float(number) for number in word.split(","))
    except ValueError:
        raise Refused(says) from None
    if any(number != number for number in found):
        raise Refused(says)
    return found
