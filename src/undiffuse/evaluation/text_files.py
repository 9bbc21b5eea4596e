"""Reads texts from files as the tokens of the texts that they are judged against."""

from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.codecs.text import TextCodec
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.dataset import Dataset
from undiffuse.data.text.passages import files, passages


def written(path: Path, like: Dataset) -> Dataset:
    """Every line of a .txt, or object of a .jsonl, as one item of `like`; what is longer is cut.

    Raises Refused for symbols that `like` does not have, and for a text that is shorter and has no padding.
    """
    codec = TextCodec(like.vocabulary, **like.spelling)
    (length,), rows = like.shape, []
    for file in files(str(path)):
        for piece in passages(file, "text", True, lambda size: None):
            tokens = codec.tokens_of(piece.text)[:length]
            if len(tokens) < length and codec.pad < 0:
                raise Refused(
                    f"{path}: text {len(rows) + 1} has {len(tokens)} tokens, and an item of {like.name} has {length}"
                )
            rows.append(np.concatenate([tokens, np.full(length - len(tokens), codec.pad)]))
    if not rows:
        raise Refused(f"{path} holds no text")
    x = np.stack(rows).astype(like.x.dtype)
    return Dataset(x, name=path.stem, vocabulary=like.vocabulary, spelling=like.spelling)


def text(which: str, like: Dataset) -> Dataset:
    """Other text in the tokens of `like`; raises Refused for what is no text, and for symbols that `like` lacks."""
    return spelled(which, TextCodec(like.vocabulary, **like.spelling), like.shape[0], like.name)


def spelled(which: str, codec: TextCodec, length: int, whose: str, **fields: Any) -> Dataset:
    """Text in the tokens of a codec, items of this length; whose: whose codec that is. fields: of the data component.

    Raises Refused for what is no text, and for symbols that the codec lacks.
    """
    table = resolve.table(which) | fields
    if table["name"] != "text":
        raise Refused(f"{which} is no text, and {whose} is one")
    packing = "pad" if codec.pad >= 0 else "pack"
    return registry.build("data", {**table, "length": length, "packing": packing}).spelled_by(codec)
