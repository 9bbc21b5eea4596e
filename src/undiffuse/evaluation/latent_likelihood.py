"""How likely an autoencoder with a prior finds data: the variational bound and the importance-weighted one."""

from typing import Any

import numpy as np
import torch

from undiffuse import likelihood
from undiffuse.core.distribution.normal import Normal
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation.scores import Scores
from undiffuse.likelihood.bound import DENSITY, LEVELS
from undiffuse.progress import Advance
from undiffuse.sampling.plan import batches

DRAWS, SAMPLES = 8, 64  # latents of each item: of the variational bound, and of the importance-weighted one
ITEMS = 256  # that `undiffuse evaluate` looks at


def bounds(
    model: Any,
    prior: Normal,
    data: Dataset,
    *,
    draws: int = DRAWS,
    samples: int = SAMPLES,
    seed: int = 0,
    bounding: Advance = lambda done, total: None,
    weighting: Advance = lambda done, total: None,
) -> Scores:
    """log p(x) of each item from below:  E log p(x | z) - KL(q(z | x) || p(z)),  and  E log 1/k sum p(x, z) / q(z | x).

    model: a `LatentSpace` with a normalised p(x | z); of integers that is the probability of their levels, of other
    numbers a density in the data's units. prior: p(z). draws: of z, for the first; samples: k of the second.
    """
    x = torch.from_numpy(np.array(data.x))
    convention = DENSITY if x.is_floating_point() else LEVELS
    vae = likelihood.HierarchicalVAE((model.posterior,), model.log_prob, prior, convention=convention)
    how: dict[str, Any] = {"seed": seed, "batch": batches(data.shape)}
    bound = likelihood.hierarchical(vae, x, draws=draws, progress=bounding, **how)
    weighted = likelihood.importance_weighted(vae, x, samples, progress=weighting, **how)
    return Scores(
        None,
        None,
        bound.elements,
        bound.convention,
        "",
        -bound.nats.numpy(),
        bound,
        importance=-weighted.numpy(),
        samples=samples,
    )
