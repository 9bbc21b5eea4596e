"""Conditions as words of a command line: a text, numbers with commas, the path of an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.recipes.settings import Condition

if TYPE_CHECKING:
    from undiffuse.sampling.generator import Generator
    from undiffuse.sampling.run import Run


def understood(model: "Generator", words: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The conditions that these (option, word) ask for, as `Generator.sample` takes them.

    An option is a condition's name, or a kind of which the model has one condition. Raises Refused for options that fit
    none, for a condition asked for twice, and for words that cannot be read as its kind.
    """
    found: dict[str, Any] = {}
    for option, word in words:
        name = _name(model, option)
        if name in found:
            raise Refused(f"{name!r} is given twice")
        found[name] = _value(name, model.conditions[name], word)
    return found


def pairs(settings: Sequence[str]) -> list[tuple[str, str]]:
    """(name, word) of each `name=word`; raises Refused for one without `=`."""
    for setting in settings:
        if "=" not in setting:
            raise Refused(f"cannot read the condition {setting!r}; write name=value, for example map=layout.png")
    return [(name.strip(), word) for name, _, word in (setting.partition("=") for setting in settings)]


def needs(model: "Run") -> list[str]:
    """What the model is told, a line each: name, kind, shape, and how often it was hidden in training."""
    lines: list[str] = []
    for name, condition in model.conditions.items():
        what = {
            "label": f"one of {len(model.classes)} classes",
            "vector": f"{condition.shape[0] if condition.shape else 0} numbers",
            "text": f"a text of up to {condition.length} tokens, read by {condition.encoder}",
            "image": f"an image of {' x '.join(map(str, condition.shape))}",
        }[condition.kind]
        hidden = f"hidden in {condition.drop:.0%} of training" if condition.drop else "always needed"
        lines.append(f"{name}: {what}, {hidden}")
    return lines


def _name(model: "Generator", option: str) -> str:
    if option in model.conditions:
        return option
    fits = [name for name, condition in model.conditions.items() if condition.kind == option]
    if len(fits) == 1:
        return fits[0]
    has = ", ".join(f"{name} ({condition.kind})" for name, condition in model.conditions.items()) or "none"
    raise Refused(f"the model has {'several of kind' if fits else 'no condition'} {option!r}; its conditions: {has}")


def _value(name: str, condition: Condition, word: str) -> Any:
    if condition.kind == "vector":
        try:
            return [float(number) for number in word.split(",")]
        except ValueError:
            raise Refused(f"{name} = {word!r}: write {condition.shape[0]} numbers with commas between them") from None
    return _image(name, condition, word) if condition.kind == "image" else word


def _image(name: str, condition: Condition, word: str) -> np.ndarray:
    """An image file, (channels, height, width), as training reads it: uint8, or grey of 16 bit; an .npy as it is."""
    from undiffuse.storage.image_file import DEEP, MODES, Target, kind, read

    if not Path(word).is_file():
        raise Refused(f"there is no file {word} for {name!r}")
    array, channels = word.lower().endswith(".npy"), condition.shape[0]
    if not array and (len(condition.shape) != 3 or channels not in MODES):
        raise Refused(f"{name} has the shape {condition.shape}, which no image file has: give it as an .npy")
    try:
        if array:
            return np.load(word, allow_pickle=False)
        dtype = kind(Path(word)).dtype
        return read(Path(word), Target(channels, dtype if channels == 1 and dtype in DEEP else "uint8"))
    except Exception as error:  # a decoder may stumble over damaged bytes in any way
        raise Refused(f"{word} cannot be read for {name!r}: {error}") from None
