"""A phrase with blanks, filled in by a model of texts."""

from typing import Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.editing.infill import infill
from undiffuse.model.model import Model

MORE = "..."


def phrase(model: Model, text: str, n: int = 1, *, only: str | None = None, **how: Any) -> list[str]:
    """n texts in which the blanks `____` are filled in and the rest stays.

    Of characters and bytes every `_` is one of them; of words and a tokenizer's tokens every run of `_` is one. `...`
    at the end goes on as far as an item of the model reaches, at the start it begins so far before. What lies around
    the phrase is drawn too, and not shown. only: a text of all the tokens that may stand in the blanks, such as
    "aeiou"; what lies around them, `...` too, is free. how: as in `Model.sample`.
    Raises Refused for models of anything but text, for a phrase that is longer than an item, and without a blank.
    """
    codec: Any = model.codec
    if not hasattr(codec, "template"):
        raise Refused("--text with blanks is for models of text: this one has learned something else")
    before, after = text.startswith(MORE), len(text) > len(MORE) and text.endswith(MORE)
    tokens, told = codec.template(text.removeprefix(MORE).removesuffix(MORE if after else ""))
    (length,) = model.shape
    if len(tokens) > length:
        raise Refused(f"the text has {len(tokens)} tokens, and one item of the run has {length}: shorten it")
    free = length - len(tokens)
    start = 0 if not before else free // 2 if after else free
    end = start + len(tokens)
    x, known = np.zeros(length, np.int64), np.zeros(length, bool)
    x[start:end], known[start:end] = tokens, told
    if codec.pad >= 0 and not after:
        x[end:], known[end:] = codec.pad, True
    shown = slice(0 if before else start, length if after else end)
    if known[shown].all():
        raise Refused("there is nothing to fill in: write ____ where something is missing, or ... at an end")
    allowed = None
    if only is not None:
        allowed = np.ones((length, codec.vocabulary), bool)
        allowed[start:end][~told] = np.isin(np.arange(codec.vocabulary), codec.tokens_of(only))
    filled = infill(model, x, known, n, allowed=allowed, **how).numpy()
    return [codec.text_of(each[shown]) for each in filled]
