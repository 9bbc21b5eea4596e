"""Conditions as networks take them, where what a frozen encoder makes of captions is kept for the next time."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.from_data import tensors
from undiffuse.conditions.values import IndexedValues, Values
from undiffuse.data.decoded_cache import Decoded, place
from undiffuse.data.made_once import made_once

FEW = 200  # different captions, which are not worth a file


def read(conditions: Mapping[str, ConditionKind], data: Mapping[str, Any]) -> dict[str, Values]:
    """The values of each condition, (count, ...), see `tensors`: the table of different captions is made once for each
    encoder, and kept under UNDIFFUSE_CACHE unless it is short.
    """
    plain = {name: each for name, each in conditions.items() if not each.reader}
    return {
        **tensors(plain, data),
        **{name: _kept(each, np.asarray(data[name])) for name, each in conditions.items() if each.reader},
    }


def _kept(condition: ConditionKind, captions: np.ndarray) -> Values:
    different, which = np.unique(captions, return_inverse=True)
    if len(different) < FEW:
        return condition.encode(captions)
    content = blake2b("\0".join(map(str, different)).encode(errors="surrogatepass"), digest_size=16).hexdigest()
    there = place(("captions", condition.reader, content), [])

    def made() -> Decoded:
        return Decoded(condition.encode(different)[torch.arange(len(different))].numpy())

    table = made_once(there, made, "decoded data")
    return IndexedValues(torch.from_numpy(np.array(table[:])), torch.from_numpy(which.reshape(-1)))
