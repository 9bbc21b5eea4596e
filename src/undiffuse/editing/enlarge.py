"""A video enlarged frame by frame, by a model of images, with one noise for all of its frames."""

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest


@devices.on_cpu()
def enlarge(
    model: Generator,
    video: np.ndarray | Tensor,
    n: int = 1,
    request: SampleRequest | None = None,
    one_noise: bool = True,
    **options: Any,
) -> Tensor:
    """n enlarged videos (n, channels, frames, height, width), in the data's units, each frame drawn by a model of
    images that is told the frame, such as one with the condition `of = "superresolve:4"`.

    video: (channels, frames, height, width). one_noise: all frames of answer i are drawn with the noise of sample i, so
    that what the model adds is alike from frame to frame; else each with its own. request, options: as in
    `Generator.sample`. Raises Refused for models of other samples and without such a condition.
    Source: arXiv:2209.14792, sec. 3.2 (the spatial super-resolution network hallucinates consistently over frames).
    """
    given = arguments.array(video, "video")
    if given.ndim != 4 or len(model.data_shape) != 3:
        raise Refused(
            f"a video is (channels, frames, height, width), and a model of images enlarges it; given are {given.shape} "
            f"and a model of samples {model.data_shape}"
        )
    channels, frames, *sides = given.shape
    wanted = {name: c.shape for name, c in model.conditions.items() if c.beside and not c.completes}
    fits = [name for name, shape in wanted.items() if shape == (channels, *sides)]
    if len(fits) != 1:
        shapes = ", ".join(f"{name} of {shape}" for name, shape in wanted.items()) or "none"
        raise Refused(f"the video's frames are {(channels, *sides)}, and the model is told images: {shapes}")
    asked = request or SampleRequest()
    rows = np.repeat(np.arange(n), frames) if one_noise else np.arange(n * frames)
    told = np.tile(given.swapaxes(0, 1), (n, 1, 1, 1))
    this = replace(asked, n=None, indices=rows.tolist())
    drawn = model.sample(n * frames, this, **{**options, fits[0]: told})
    return drawn.as_subclass(Tensor).unflatten(0, (n, frames)).swapaxes(1, 2)
