"""Outpainting: a larger picture around one of the model's size, by sliding windows."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.editing.given import item, opened
from undiffuse.editing.inverse_problems import STD
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.mmps import MMPS
from undiffuse.guidance.multidiffusion import MultiDiffusion
from undiffuse.operators.mask import Mask
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SampleRequest


@devices.on_cpu()
def outpaint(
    model: DenoisingGenerator,
    image: np.ndarray | Tensor | None,
    size: tuple[int, ...],
    corner: tuple[int, ...] | None = None,
    overlap: float = 0.5,
    n: int = 1,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """n samples of another size, (n, channels, *size) in the data's units, with an item of the model's size inside.

    image: None for none. corner: where the item's first corner lies, default in the middle. overlap: of neighbouring
    windows. Only what a window can see fits together; beyond, a picture drifts. request, options: as in
    `Generator.sample`.
    Raises Refused for a size smaller than the model's and for a corner that leaves the item outside.
    """
    session = opened(model, request, options, n)
    channels, *window = model.data_shape
    overlap, size = arguments.number(overlap, "overlap"), _whole(size, "size")
    if len(size) != len(window) or any(s < w for s, w in zip(size, window, strict=False)):
        raise Refused(f"the size must be at least the model's own, {tuple(window)}, not {tuple(size)}")
    windows = MultiDiffusion(session.denoiser, model.shape[1:], overlap)
    shape = model.codec.encoded_shape((channels, *size))
    if image is None:
        return session.decoded(replace(session, denoiser=windows, shape=shape).encoded())
    finer = [s // z for s, z in zip(size, shape[1:], strict=True)]  # of an encoded picture
    middle = tuple((s - w) // 2 // f * f for s, w, f in zip(size, window, finer, strict=True))
    at = middle if corner is None else _whole(corner, "corner")
    if len(at) != len(window) or any(not 0 <= a <= s - w for a, s, w in zip(at, size, window, strict=False)):
        raise Refused(f"an item of {tuple(window)} at {at} is not inside a picture of {tuple(size)}")
    if any(a % f for a, f in zip(at, finer, strict=True)):
        raise Refused(f"a latent stands for {finer} pixels: the corner {at} is not a multiple of them")
    place = (..., *(slice(a, a + w) for a, w in zip(at, window, strict=True)))
    there = (..., *(slice(a // f, a // f + w) for a, f, w in zip(at, finer, model.shape[1:], strict=True)))
    whole = item(model, image, "image")
    x = model.codec.encode(whole).to(model.device)
    known = torch.zeros(1, *shape, device=x.device, dtype=x.dtype)
    mask = torch.zeros_like(known)
    known[there], mask[there] = x, 1.0
    guided = MMPS(windows, Measurement(Mask(mask), known, STD))
    drawn = session.decoded(replace(session, denoiser=guided, shape=shape).encoded())
    drawn[place] = torch.as_tensor(whole).to(drawn)
    return drawn


def _whole(sizes: Any, name: str) -> tuple[int, ...]:
    """Whole numbers; raises Refused, by the name, for all else."""
    try:
        return tuple(arguments.whole(each, name) for each in sizes)
    except TypeError:
        raise Refused(f"{name} is a height and a width, such as (16, 24), not {arguments.shown(sizes)}") from None
