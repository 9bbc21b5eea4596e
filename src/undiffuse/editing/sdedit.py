"""Image to image: noise on an item, up to some level, and the way back."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.editing.by_stage import by_stage
from undiffuse.editing.given import encoded, opened, refuse_uneditable, unit
from undiffuse.samplers.ancestral import Ancestral
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session

STEPS = 100  # of the ancestral sampler that removes noise
START = 7  # the stream of the noise that is put on the item


@devices.on_cpu()
def vary(
    model: Generator,
    image: np.ndarray | Tensor,
    strength: float = 0.5,
    n: int = 1,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """n variations of an item in the data's units: (n, *shape).

    strength: in (0, 1], the share of the sampler's steps that are taken, from the noise level where they begin: little
    keeps the item, 1 forgets it. Of a chain every stage varies the item at its own size. request, options: as in
    `Generator.sample`. Raises Refused for another strength and another shape.
    Source: arXiv:2108.01073, alg. 1.
    """
    refuse_uneditable(model)
    strength = arguments.number(strength, "strength")
    if not 0 < strength <= 1:
        raise Refused(f"strength lies in (0, 1]: 0.2 keeps nearly all, 1 forgets it; not {strength:g}")
    if model.stages:
        return by_stage(model, lambda run, x, by, **how: vary(run, x, strength, **how), image, n, request, options)
    session = opened(model, request, options, n)
    return _varied(session, encoded(model, image, "image"), strength)


def vary_each(model: Generator, items: np.ndarray, strength: float, request: SampleRequest, **options: Any) -> Tensor:
    """One variation of each of n items in the data's units, (n, *shape), as `vary` makes them."""
    if model.stages:

        def edit(run: Any, x: Tensor, by: int, n: int, request: SampleRequest, progress: Any) -> Tensor:
            return vary_each(run, x.numpy(), strength, request, progress=progress)

        return by_stage(model, edit, items, len(items), request, options)
    session = opened(model, request, options, len(items))
    return _varied(session, model.codec.encode(items).to(model.device), strength)


def _varied(session: Session, x: Tensor, strength: float) -> Tensor:
    """Variations of encoded items x, one for all rows or one each."""
    times = session.times[session.steps - max(1, round(strength * session.steps)) :]
    noisy: Any = session.model.denoiser.process.marginal(x.expand(len(session.indices), *x.shape[1:]), times[0])
    start = noisy.sample(session.random.fold(START))
    return session.decoded(replace(session, start=start, times=times).encoded())


@devices.on_cpu()
def denoise(
    model: DenoisingGenerator,
    image: np.ndarray | Tensor,
    std: float | None = None,
    n: int = 1,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """n guesses of what an item was before noise of deviation `std`, in the data's units, was put on it: (n, *shape).

    The item is taken for the state at the noise level sigma/alpha = std and sampled from there by `ancestral`, 100
    steps of it, unless another sampler is asked for: draws from the model's own posterior. std: None estimates it by
    `noise_level`.
    Raises Refused for a noise that is not above 0 and for one beyond the schedule's.
    """
    wanted = request or SampleRequest()
    if (options.get("sampler") or wanted.sampler) is None:
        options |= {"sampler": Ancestral(), "steps": options.get("steps") or wanted.steps or STEPS}
    session = opened(model, request, options, n)
    scale = unit(model)
    y = encoded(model, image, "image", real=True)
    level = noise_level(y) if std is None else arguments.number(std, "std") * scale
    if not level > 0:
        raise Refused(f"there is no noise to remove: its deviation is {level / scale:g}")
    schedule = model.denoiser.process.schedule
    first = schedule.time(torch.tensor(-2 * np.log(level), dtype=torch.float64))
    if float(first) >= 1:
        raise Refused(f"a noise of deviation {level / scale:g} is beyond the noisiest level of the model's schedule")
    later = session.times[session.times < first]
    times = torch.cat([first[None], later])
    start = schedule.alpha(first).to(y) * y
    return session.decoded(replace(session, start=start, times=times).encoded())


def noise_level(image: Tensor) -> float:
    """The deviation of white noise in images (batch, channels, height, width), by the median of their diagonal details.

    median |d| / 0.6745 over d = (a - b - c + e) / 2 of every 2 x 2 block: the wavelet estimate of Donoho and Johnstone
    (1994) with Haar's wavelet. Raises Refused for what is no image of at least 2 x 2.
    """
    if image.ndim != 4 or min(image.shape[-2:]) < 2:
        raise Refused(f"the noise of images can be estimated, not of items of shape {tuple(image.shape[1:])}: give std")
    x = image[..., : image.shape[-2] // 2 * 2, : image.shape[-1] // 2 * 2].double()
    a, b, c, e = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return float(((a - b - c + e) / 2).abs().median()) / 0.6744897501960817
