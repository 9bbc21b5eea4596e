"""Videos of which some frames are given: the others filled in, and videos that go on for longer than a model's own."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.editing.given import opened
from undiffuse.editing.impute import completes, impute
from undiffuse.editing.inverse_problems import STD, inpaint
from undiffuse.editing.outpaint import outpaint
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.mmps import MMPS
from undiffuse.guidance.multidiffusion import MultiDiffusion
from undiffuse.operators.mask import Mask
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SEED, SampleRequest

WINDOWS = "windows"  # the method that draws all windows of a long video together


@devices.on_cpu()
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


@devices.on_cpu()
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
    many as are given, at most half of a window. Window j is drawn with seed + j. method: as of `fill`; "windows": all
    windows are drawn together, see `MultiDiffusion`, so that the end has an effect on the beginning, and memory is for
    the whole video.
    Raises Refused for a length that the first frames have, and for an overlap that leaves nothing to be drawn.
    """
    _refuse_others(model)
    asked = request or SampleRequest()
    window = model.data_shape[1]
    given = None if first is None else arguments.array(first, "first")
    if given is not None and _but_time(given.shape) != _but_time(model.data_shape):
        raise Refused(f"first has the shape {given.shape}, and the model's videos {model.data_shape}")
    if method == WINDOWS:
        return _together(model, given, length, overlap, n, request, options)
    if given is None:
        made = model.sample(n, asked, **options).as_subclass(Tensor)
    else:
        made = torch.as_tensor(given).expand(n, *given.shape)
    overlap = overlap or min(made.shape[2], window // 2)
    if length <= made.shape[2]:
        raise Refused(f"a video of {length} frames is no longer than the {made.shape[2]} that there are")
    if not 0 < overlap < window or overlap > made.shape[2]:
        raise Refused(f"an overlap is from 1 to {min(window - 1, made.shape[2])} frames, not {overlap}")
    turn = 0
    while made.shape[2] < length:
        turn += 1
        fresh = replace(asked, seed=(asked.seed + turn) % (SEED + 1))
        known = np.full((n, *model.data_shape), np.nan, np.float32)
        known[:, :, :overlap] = made[:, :, -overlap:].numpy()
        drawn = _each(model, known, fresh, method, options)
        made = torch.cat([made.to(drawn.dtype), drawn[:, :, overlap:]], dim=2)
    return made[:, :, :length]


def _together(
    model: Any,
    first: np.ndarray | None,
    length: int,
    overlap: int,
    n: int,
    request: SampleRequest | None,
    options: dict[str, Any],
) -> Tensor:
    """n videos, all windows of which are drawn together; the first frames are measured, see `MMPS`, and stay."""
    channels, window, *sides = model.data_shape
    there = 0 if first is None else first.shape[1]
    if length <= max(window, there):
        raise Refused(f"a video of windows that are drawn together has more frames than {max(window, there)}")
    if not 0 <= overlap < window:
        raise Refused(f"an overlap is from 1 to {window - 1} frames, not {overlap}")
    if first is None or not there:
        share = (overlap or window // 2) / window
        return outpaint(model, None, (length, *sides), None, share, n, request, **options)
    session = opened(model, request, options, n)
    windows = MultiDiffusion(session.denoiser, model.shape[1:], (overlap or window // 2) / window)
    shape = model.codec.encoded_shape((channels, length, *sides))
    x = model.codec.encode(first[None].astype(model.data_dtype)).to(model.device)
    known = torch.zeros(1, *shape, device=x.device, dtype=x.dtype)
    mask = torch.zeros_like(known)
    known[:, :, : x.shape[2]], mask[:, :, : x.shape[2]] = x, 1.0
    guided = MMPS(windows, Measurement(Mask(mask), known, STD))
    drawn = session.decoded(replace(session, denoiser=guided, shape=shape).encoded())
    drawn[:, :, :there] = torch.as_tensor(first).to(drawn)
    return drawn


def _but_time(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a video without its number of frames; () of what is none."""
    return (shape[0], *shape[2:]) if len(shape) == 4 else ()


def _each(model: Any, known: np.ndarray, request: SampleRequest, method: str, options: dict[str, Any]) -> Tensor:
    """A video for each of those with NaN, (n, channels, frames, height, width)."""
    if completes(model):
        name = completes(model)
        return model.sample(len(known), request, **{**options, name: known}).as_subclass(Tensor)
    which = request.indices or range(len(known))
    alone = [replace(request, n=None, indices=[i]) for i in which]
    made = [fill(model, x, 1, each, method, **options) for x, each in zip(known, alone, strict=True)]
    return torch.cat(made)


def _refuse_others(model: DenoisingGenerator) -> None:
    if len(model.data_shape) != 4 or model.codec.tokens:
        raise Refused(f"frames are of videos, and the model's samples have shape {model.data_shape}")
