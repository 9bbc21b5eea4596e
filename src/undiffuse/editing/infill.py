"""Infilling: a model of tokens fills in what is not known of a sequence."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.editing.given import encoded, opened
from undiffuse.guidance.constraint import Constraint
from undiffuse.guidance.infill import Infill
from undiffuse.guidance.inpaint import Inpaint
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session


@devices.on_cpu()
def infill(
    model: DenoisingGenerator,
    x: np.ndarray | Tensor,
    known: np.ndarray | Tensor,
    n: int = 1,
    request: SampleRequest | None = None,
    *,
    allowed: np.ndarray | Tensor | None = None,
    **options: Any,
) -> Tensor:
    """n ways to fill in the unknown tokens of a sequence, decoded: (n, *shape). The known ones stay.

    x: one item, (*shape), with any symbol where it is not known. known: booleans of its shape. allowed: booleans
    (*shape, symbols), what may be drawn where, see `guidance.Constraint`. request, options: as in `Generator.sample`.
    With a mask as noise these are draws from the model's p(x_0 given the known), see `guidance.Infill`.
    Raises Refused for models of values, for another shape, and where nothing is unknown.
    """
    session = opened(model, request, options, n, tokens=True)
    stays = arguments.array(known, "known")
    if stays.size and not np.isin(stays, (0, 1)).all():
        raise Refused(f"known is true or false, or 1 and 0, and goes from {stays.min():g} to {stays.max():g}")
    where = torch.as_tensor(stays.astype(np.bool_))
    where = where.reshape(1, *where.shape[-len(model.shape) :]) if where.ndim else where
    if tuple(where.shape[1:]) != model.shape:
        raise Refused(f"which tokens are known has the shape {tuple(where.shape[1:])}, and a sequence {model.shape}")
    if bool(where.all()):
        raise Refused("every token is known: there is nothing to fill in")
    tokens = encoded(model, x, "x")
    if model.denoiser.process.family == "values":
        return _embedded(session, tokens, where.to(tokens.device), allowed)
    free = (
        session.denoiser
        if allowed is None
        else Constraint(session.denoiser, torch.as_tensor(arguments.array(allowed, "allowed").astype(np.bool_)))
    )
    filled = Infill(free, tokens, where.to(tokens.device))
    prior: Any = model.denoiser.process.prior((len(session.indices), *model.shape), session.times[0])
    start = prior.sample(session.random.fold(-1)).to(tokens.device)
    return session.decoded(replace(session, denoiser=filled, start=filled.start(start)).encoded())


def _embedded(session: Session, tokens: Tensor, where: Tensor, allowed: Any) -> Tensor:
    """The same where values stand for tokens: the embeddings of the known ones are put back after every step."""
    if allowed is not None:
        raise Refused("what may stand in a blank can be said to models of tokens; this one guesses embeddings")
    model = session.model
    known = Inpaint(session.sampler, model.denoiser.state_of(tokens), where[:, None].float())
    drawn = model.denoiser.data_of(replace(session, sampler=known).encoded())
    return session.best(model.codec.decode(torch.where(where, tokens, drawn)).cpu())
