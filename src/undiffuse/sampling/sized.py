"""Pictures brought to the size that an encoder reads."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import as_dtype
from undiffuse.core.errors import Refused
from undiffuse.networks.conditions import resized


def sized(x: np.ndarray | Tensor, own: Sequence[int], reader: str) -> np.ndarray | Tensor:
    """Pictures x (n, channels, height, width) in the size of `own`, a shape without n, made small by area, and large
    linearly; raises Refused, with both shapes, for other items. reader: in words.
    """
    given, own = tuple(x.shape[1:]), tuple(own)
    if given == own:
        return x
    if len(own) != 3 or given[:1] != own[:1] or len(given) != 3:
        raise Refused(f"{reader} reads items of shape {own}, not {given}")
    pictures = torch.as_tensor(np.asarray(x)) if not isinstance(x, Tensor) else x
    return as_dtype(resized(pictures.float(), own[1:]), str(pictures.dtype).removeprefix("torch."))
