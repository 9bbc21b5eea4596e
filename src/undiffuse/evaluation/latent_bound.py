"""A bound on the likelihood of a latent model: that of the decoder and that of the latents."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse import likelihood
from undiffuse.core.random import Random
from undiffuse.evaluation.scores import Scores
from undiffuse.likelihood.bound import DENSITY, LEVELS
from undiffuse.progress import Advance
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.guidance import spread
from undiffuse.sampling.plan import batches

LATENTS = 31  # the stream of random numbers that latents are drawn from


def latent_bound(
    model: DenoisingGenerator,
    x: np.ndarray,
    cond: Mapping[str, Tensor],
    named: str,
    *,
    subset: int,
    draws: int = 1,
    seed: int = 0,
    progress: Advance = lambda done, total: None,
) -> Scores:
    """log p(x) >= E[log p(x given z) - log q(z given x) + log p(z)], with the bound of the latents' model for log p(z).

    Of integers probabilities of their levels, else densities in the data's own units; the latents' scaling is part of
    q, see `Latent.explained`. draws: of the latents
    of each item, and of the noise in their bound. Raises Refused where the decoder is no normalised density.
    Source: arXiv:2106.05931, sec. 3.1.
    """
    variance: Any = "exact" if model.variance else model.denoiser.bound_variance
    found: list[np.ndarray] = []
    terms: Any = None
    conditions: dict[str, Any] = dict(cond)
    each = len(x) * (subset + 1)
    for draw in range(draws):
        random = Random(seed).fold(LATENTS, draw)
        step = batches(model.data_shape)
        rows = [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]
        drawn = [model.codec.explained(x[part], random.at(torch.arange(part.start, part.stop))) for part in rows]
        z, nats = (torch.cat(every) for every in zip(*drawn, strict=True))
        terms = likelihood.elbo(
            spread(model, model.denoiser),
            z.to(model.device),
            variance=variance,
            subset=subset,
            seed=seed + draw,
            batch=batches(model.shape),
            progress=lambda done, _, before=draw * each: progress(before + done, draws * each),
            **conditions,
        )
        found.append(nats.double().cpu().numpy() - terms.nats.numpy())
    more = {"draw_error": np.std(found, axis=0, ddof=1) / draws**0.5} if draws > 1 else {}
    convention = f"{LEVELS if np.issubdtype(x.dtype, np.integer) else DENSITY} through an autoencoder"
    about = replace(terms, convention=convention)
    elements = math.prod(model.data_shape)
    return Scores(None, None, elements, convention, named, np.mean(found, axis=0), about, variance, more)
