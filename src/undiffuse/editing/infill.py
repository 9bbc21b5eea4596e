"""Infilling: a model of tokens fills in what is not known of a sequence."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.editing.session import Session
from undiffuse.guidance.infill import Infill
from undiffuse.model.model import Model


def infill(model: Model, x: np.ndarray | Tensor, known: np.ndarray | Tensor, n: int = 1, **how: Any) -> Tensor:
    """n ways to fill in the unknown tokens of a sequence, decoded: (n, *shape). The known ones stay.

    x: one item, (*shape), with any symbol where it is not known. known: booleans of its shape. how: as in
    `Model.sample`. With a mask as noise these are draws from the model's p(x_0 given the known), see
    `guidance.Infill`. Raises Refused for models of values, for another shape, and where nothing is unknown.
    """
    session = Session.open(model, n, of="tokens", **how)
    where = torch.as_tensor(known, dtype=torch.bool)
    where = where.reshape(1, *where.shape[-len(model.shape) :]) if where.ndim else where
    if tuple(where.shape[1:]) != model.shape:
        raise Refused(f"which tokens are known has the shape {tuple(where.shape[1:])}, and a sequence {model.shape}")
    if bool(where.all()):
        raise Refused("every token is known: there is nothing to fill in")
    tokens = session.encoded(x)
    filled = Infill(session.denoiser, tokens, where.to(tokens.device))
    prior: Any = model.denoiser.process.prior((n, *model.shape), session.chosen.times[0])
    start = prior.sample(Random(session.seed).fold(-1)).to(tokens.device)
    return session.decoded(session.draw(filled, start=filled.start(start)))
