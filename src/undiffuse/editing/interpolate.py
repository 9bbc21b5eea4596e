"""Between two items: their codes by the deterministic sampler backwards, and the way from one code to the other."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices, jumps
from undiffuse.core.broadcast import column
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.editing.given import difference, embedding, encoded, item, opened, refuse_stages, refuse_uneditable
from undiffuse.samplers.ddim import DDIM
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SampleRequest


@devices.on_cpu()
@torch.no_grad()
def inverted(denoiser: Denoiser, x_0: Tensor, times: Tensor, **cond: Any) -> Tensor:
    """The states at times[0] from which deterministic DDIM on these falling times comes back to x_0 (batch, *shape).

    Each step is DDIM's in the other direction, x_t = (sigma_t/sigma_s) x_s + pull guess(x_s, s), with the guess of the
    cleaner end in place of the noisier: the round trip's error falls as 1/steps. The first step only shrinks x_0 to
    alpha x_0, so the grid's last level above 0 should be small. Source: arXiv:2105.05233, app. F.
    Raises Refused for guesses that are no means of the data, which know the way to data alone.
    """
    if denoiser.jumps not in ("none", "any"):
        raise Refused(
            f"the code of an item is found step by step backwards, and this model is {jumps.WORDS[denoiser.jumps]}: "
            "take its teacher"
        )
    process: Any = denoiser.process
    rising = torch.as_tensor(times, dtype=torch.float64).flip(0)
    rising = rising[rising > 0]
    x = process.schedule.at(rising[0], x_0)[0].to(x_0) * x_0
    for s, t in pairwise(rising):
        guess = denoiser(x, s, **cond).mean_only()
        x = process.bridge(x, guess, t, s, keep=process.schedule.sigma(t) / process.schedule.sigma(s)).mean
    return x


@devices.on_cpu()
def between(
    model: DenoisingGenerator,
    first: np.ndarray | Tensor,
    last: np.ndarray | Tensor,
    frames: int = 16,
    request: SampleRequest | None = None,
    **options: Any,
) -> tuple[Tensor, float]:
    """A way from one item to another, both in the data's units: (frames, *shape), and the error at its ends.

    Codes are mixed along the great circle, which keeps their length as noise has it:
    z = sin((1 - u) w)/sin(w) z_first + sin(u w)/sin(w) z_last, w the angle between them. The error is the root mean
    square difference, in the data's units, of the items and what their own codes decode to; of latents, of the items
    that the autoencoder makes of both.
    Of a model that is told the vector of a picture, see `told.embedding`, that of each item is told on its way to the
    code, and the vectors are mixed likewise.
    request, options: as in `Generator.sample`; the steps are used both ways, the sampler is DDIM.
    Raises Refused for fewer than two frames. Source: arXiv:2010.02502, app. C.5; arXiv:2204.06125, sec. 3.2 (vectors).
    """
    refuse_uneditable(model)
    refuse_stages(model)
    if arguments.whole(frames, "frames") < 2:
        raise Refused(f"a way between two items needs at least 2 frames, not {frames}")
    share = torch.linspace(0, 1, frames, dtype=torch.float64)
    if (name := embedding(model)) and name not in options:
        condition: Any = model.conditions[name]
        a, b = (torch.from_numpy(condition.vectors(item(model, x, "item"))).double() for x in (first, last))
        options[name] = spherical(a, b, share).float()
    session = opened(model, request, {**options, "sampler": DDIM()}, frames)
    ends = torch.cat([encoded(model, first, "first"), encoded(model, last, "last")])
    cond = {name: value[[0, -1]] for name, value in session.cond.items()}
    codes = inverted(session.denoiser, ends, session.times, **cond).double()
    start = spherical(codes[:1], codes[1:], share.to(codes.device))
    way = replace(session, start=start.to(ends)).encoded()
    return session.decoded(way), difference(model, way[[0, -1]], ends)


def spherical(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Points on the great circle from a to b, (1, *shape) each, at shares (k,) of the way: (k, *shape)."""
    cosine = (a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-30)
    angle = cosine.clamp(-1, 1).arccos()
    share = column(share, a)
    if float(angle) < 1e-6:
        return torch.lerp(a, b, share)
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()
