"""A phrase with blanks, filled in by a model of texts."""

from typing import Any

import numpy as np

from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.editing.infill import infill
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SampleRequest

MORE = "..."


def phrase(
    model: DenoisingGenerator,
    text: str,
    n: int = 1,
    request: SampleRequest | None = None,
    *,
    only: str | None = None,
    **options: Any,
) -> list[str]:
    """n texts in which the blanks `____` are filled in and the rest stays as it is written.

    Of characters and bytes every `_` is one of them; of words and a tokenizer's tokens every run of `_` is one. `...`
    at the end goes on as far as an item of the model reaches, at the start it begins so far before. What lies around
    the phrase is drawn too, and not shown. only: a text of all the tokens that may stand in the blanks, such as
    "aeiou"; what lies around them, `...` too, is free. request, options: as in
    `Generator.sample`.
    Raises Refused for models of anything but text, for a phrase that is longer than an item, and without a blank.
    """
    text = arguments.text(text, "text")
    codec: Any = model.codec
    if codec.reader is None:
        raise Refused("--text with blanks is for models of text: this one has learned something else")
    before, after = text.startswith(MORE), len(text) > len(MORE) and text.endswith(MORE)
    given = text.removeprefix(MORE).removesuffix(MORE if after else "")
    tokens, written = codec.template(given)
    (length,) = model.shape
    if len(tokens) > length:
        raise Refused(f"the text has {len(tokens)} tokens, and one item of the run has {length}: shorten it")
    free = length - len(tokens)
    start = 0 if not before else free // 2 if after else free
    end = start + len(tokens)
    x, known = np.zeros(length, np.int64), np.zeros(length, bool)
    x[start:end], known[start:end] = tokens, written
    if codec.pad >= 0 and not after:
        x[end:], known[end:] = codec.pad, True
    shown = slice(0 if before else start, length if after else end)
    if known[shown].all():
        raise Refused("there is nothing to fill in: write ____ where something is missing, or ... at an end")
    allowed = None
    if only is not None:
        allowed = np.ones((length, codec.vocabulary), bool)
        allowed[start:end][~written] = np.isin(np.arange(codec.vocabulary), codec.tokens_of(only))
    filled = infill(model, x, known, n, request, allowed=allowed, **options).numpy()
    return [_written(codec, given, each[shown], start - shown.start) for each in filled]


def _written(codec: Any, given: str, row: np.ndarray, start: int) -> str:
    """The tokens of a row as they read, and what was given as it was given, its blanks from the place `start` on."""
    text, end = "", start
    for said, tokens, known in codec.parts(given):
        filled = codec.text_of(row[end : end + len(tokens)])
        text += said if known else filled.lstrip() if _open(text) and not codec.letters else filled
        end += len(tokens)
    if end == start:
        return codec.text_of(row)
    head = codec.text_of(row[: start + 1]).removesuffix(codec.text_of(row[start : start + 1]))
    tail = codec.text_of(row[end - 1 :]).removeprefix(codec.text_of(row[end - 1 : end]))
    if not codec.letters:
        head, tail = head.rstrip() if text[:1].isspace() else head, tail.lstrip() if _open(text) else tail
    return head + text + tail


def _open(text: str) -> bool:
    """Whether what follows needs no space before it."""
    return not text or text[-1].isspace()
