"""Editing by what a picture shows, the vector of a pair of encoders: variations of it, and steps towards a text."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.editing.given import embedding, encoded, item, opened, refuse_stages
from undiffuse.editing.interpolate import inverted, spherical
from undiffuse.samplers.ddim import DDIM
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session


@devices.on_cpu()
@torch.no_grad()
def variations(
    model: DenoisingGenerator,
    image: np.ndarray | Tensor,
    n: int = 1,
    eta: float = 1.0,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """n pictures that show what an item shows, in the data's units: (n, *shape).

    The item's vector is told, and sampling begins at the item's own code, found by deterministic DDIM backwards; eta,
    from 0 to 1, is how random the way back is: 0 gives the item again, up to the error of the steps, and 1 keeps what
    the vector says alone. request, options: as in `Generator.sample`, without a sampler.
    Raises Refused for a model that is told no vector. Source: arXiv:2204.06125, sec. 3.1.
    """
    name = _needed(model)
    unit = _vector(model, name, image)
    session, code = _code(model, image, {name: unit}, n, request, options, DDIM(eta=arguments.number(eta, "eta")))
    return session.decoded(replace(session, start=code).encoded())


@devices.on_cpu()
@torch.no_grad()
def towards(
    model: DenoisingGenerator,
    image: np.ndarray | Tensor,
    text: str,
    caption: str = "",
    frames: int = 8,
    share: float = 0.4,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """The way from an item towards a text, in the data's units: (frames, *shape).

    The vector u of the item is turned to d = (v(text) - v(caption)) / |v(text) - v(caption)| along the great circle, by
    shares from 0 to `share` of the way; the code from which sampling begins, see `variations`, stays. caption: what the
    item shows now. request, options: as in `Generator.sample`, without a sampler.
    Raises Refused for a model that is told no vector, equal texts and a share outside (0, 1].
    Source: arXiv:2204.06125, sec. 3.3 (shares up to 0.25 to 0.5).
    """
    if not 0 < arguments.number(share, "share") <= 1:
        raise Refused(f"share is how much of the way to the text is gone, above 0 and up to 1, not {share:g}")
    if arguments.whole(frames, "frames") < 2:
        raise Refused(f"a way towards a text needs at least 2 frames, not {frames}")
    name = _needed(model)
    condition: Any = model.conditions[name]
    told = condition.texts([arguments.text(text, "the text"), arguments.text(caption, "the caption")])
    difference = told[:1] - told[1:]
    if float(difference.norm()) < 1e-6:
        raise Refused(f"{text!r} says nothing else than the caption {caption!r}: there is no way between them")
    unit = _vector(model, name, image)
    way = spherical(
        unit.double(), F.normalize(difference, dim=1).double(), torch.linspace(0, share, frames, dtype=torch.float64)
    )
    session, code = _code(model, image, {name: way.float()}, frames, request, options, DDIM())
    return session.decoded(replace(session, start=code).encoded())


def _code(
    model: DenoisingGenerator,
    image: np.ndarray | Tensor,
    told: Mapping[str, Tensor],
    n: int,
    request: SampleRequest | None,
    options: Mapping[str, Any],
    sampler: DDIM,
) -> tuple[Session, Tensor]:
    """The session of n rows with these conditions, and the item's code, by the first row's: (1, *shape)."""
    session = opened(model, request, {**options, **told, "sampler": sampler}, n)
    cond = {name: value[:1] for name, value in session.cond.items()}
    x = encoded(model, image, "image")
    return session, inverted(session.denoiser, x, session.times, **cond)


def _vector(model: DenoisingGenerator, name: str, image: np.ndarray | Tensor) -> Tensor:
    """The unit vector (1, d) of an item in the data's units."""
    condition: Any = model.conditions[name]
    return torch.from_numpy(condition.vectors(item(model, image, "image")))


def _needed(model: DenoisingGenerator) -> str:
    """The name of the condition that is a vector of the item."""
    refuse_stages(model)
    if (name := embedding(model)) is None:
        raise Refused(
            "variations and steps towards a text are of a model that is told the vector of a picture, by a condition "
            "of kind 'embedding', as the recipe emoji-unclip has it"
        )
    return name
