"""Videos of which some frames are given: the others filled in, and videos that go on for longer than a model's own."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.editing.impute import completes, impute
from undiffuse.editing.inverse_problems import inpaint
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SampleRequest


def fill(
    model: DenoisingGenerator,
    x: np.ndarray | Tensor,
    n: int = 1,
    request: SampleRequest | None = None,
    method: str = "mmps",
    **options: Any,
) -> Tensor:
    """n videos that have the given frames, in the data's units: (n, channels, frames, height, width).

    x: (channels, frames, height, width) with NaN in the frames that are asked for. A model with a condition of kind
    `frames` was trained for it; any other one is led by `method`, see `inpaint`. request, options: as in
    `Generator.sample`. Raises Refused for models of other samples, and as those do.
    """
    _refuse_others(model)
    if completes(model):
        return impute(model, x, n, request, **options)
    given = arguments.array(x, "x", gaps=True)
    known = ~np.isnan(given)
    item = np.nan_to_num(given).astype(model.data_dtype)
    return inpaint(model, item, known.astype(np.float32), method, n, request, **options)


def extend(
    model: DenoisingGenerator,
    first: np.ndarray | Tensor | None,
    length: int,
    n: int = 1,
    request: SampleRequest | None = None,
    method: str = "mmps",
    overlap: int = 0,
    **options: Any,
) -> Tensor:
    """n videos of `length` frames, window by window, each of the model's own number of frames: the last `overlap`
    frames there are, are given, and the next ones filled in, see `fill`.

    first: the frames that they go on from, (channels, k, height, width); None: n samples of the model. overlap: 0: as
    many as are given, at most half of a window. Window j is drawn with seed + j.
    Raises Refused for a length that the first frames have, and for an overlap that leaves nothing to be drawn.
    """
    _refuse_others(model)
    asked = request or SampleRequest()
    window = model.data_shape[1]
    if first is None:
        made = model.sample(n, asked, **options).as_subclass(Tensor)
    else:
        given = arguments.array(first, "first")
        if given.ndim != 4 or (given.shape[0], *given.shape[2:]) != (model.data_shape[0], *model.data_shape[2:]):
            raise Refused(f"first has the shape {given.shape}, and the model's videos {model.data_shape}")
        made = torch.as_tensor(given).expand(n, *given.shape)
    overlap = overlap or min(made.shape[2], window // 2)
    if length <= made.shape[2]:
        raise Refused(f"a video of {length} frames is no longer than the {made.shape[2]} that there are")
    if not 0 < overlap < window or overlap > made.shape[2]:
        raise Refused(f"an overlap is from 1 to {min(window - 1, made.shape[2])} frames, not {overlap}")
    turn = 0
    while made.shape[2] < length:
        turn += 1
        fresh = replace(asked, seed=asked.seed + turn)
        known = np.full((n, *model.data_shape), np.nan, np.float32)
        known[:, :, :overlap] = made[:, :, -overlap:].numpy()
        drawn = _each(model, known, fresh, method, options)
        made = torch.cat([made.to(drawn.dtype), drawn[:, :, overlap:]], dim=2)
    return made[:, :, :length]


def _each(model: Any, known: np.ndarray, request: SampleRequest, method: str, options: dict[str, Any]) -> Tensor:
    """A video for each of those with NaN, (n, channels, frames, height, width)."""
    if completes(model):
        name = completes(model)
        return model.sample(len(known), request, **{**options, name: known}).as_subclass(Tensor)
    made = [fill(model, x, 1, replace(request, indices=[i]), method, **options) for i, x in enumerate(known)]
    return torch.cat(made)


def _refuse_others(model: DenoisingGenerator) -> None:
    if len(model.data_shape) != 4 or model.codec.tokens:
        raise Refused(f"frames are of videos, and the model's samples have shape {model.data_shape}")
