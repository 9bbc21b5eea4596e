"""Matrices of single steps for `Transitions`: noise that knows which tokens are near each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Schedule

SYMBOLS = 2048  # a matrix of more is no table any more


def kept(schedule: Schedule) -> Tensor:
    """alpha(i/T)/alpha((i - 1)/T) of the steps i = 1 ... T, (T,), float64; raises Refused for a schedule without."""
    if not schedule.steps:
        raise Refused(
            f"transitions take a schedule of steps, such as linear_beta or jsd; {registry.name_of(schedule)} has none "
            "(log_linear and token_cosine have the field steps)"
        )
    alpha = schedule.alpha(torch.arange(schedule.steps + 1, dtype=torch.float64) / schedule.steps)
    return alpha[1:] / alpha[:-1]


def towards(schedule: Schedule, noise: Sequence[float] | Tensor) -> Tensor:
    """Each token is kept or drawn from a noise vector:  Q = k I + (1 - k) 1 noise^T, k = `kept`: (T, K, K).

    With `categorical.uniform` and `categorical.mask` these are D3PM's uniform and absorbing matrices, and `Categorical`
    is the same process without matrices (arXiv:2107.03006, app. A.2.1 and A.2.2).
    """
    vector, stays = torch.as_tensor(noise, dtype=torch.float64), kept(schedule)[:, None, None]
    size = _checked(len(vector))
    return stays * torch.eye(size, dtype=torch.float64) + (1 - stays) * vector


def gaussian(schedule: Schedule, size: int) -> Tensor:
    """The discretised Gaussian, for ordered levels: near ones are likely. (T, K, K), symmetric, so doubly stochastic.

    Q[i, j] = exp(-4 (i - j)^2/((K - 1)^2 beta)) / sum_{n = 1-K}^{K-1} exp(-4 n^2/((K - 1)^2 beta)) for i != j, and the
    diagonal is what is left to 1; beta = 1 - (alpha_i/alpha_{i-1})^2, DDPM's of linear_beta.
    Source: arXiv:2107.03006, app. A.2.3 (beta from 1e-4 to 0.02 for 256 levels).
    """
    beta = (1 - kept(schedule) ** 2)[:, None]
    apart = torch.arange(_checked(size), dtype=torch.float64)
    weight = (-4 * apart**2 / ((size - 1) ** 2 * beta)).exp()  # (T, K), over the distance
    weight = weight / (weight[:, :1] + 2 * weight[:, 1:].sum(1, keepdim=True))
    place = torch.arange(size)
    matrices = weight[:, (place[:, None] - place).abs()]
    matrices[:, place, place] = 0.0
    matrices[:, place, place] = 1 - matrices.sum(-1)
    return matrices


def nearest(schedule: Schedule, embedding: Tensor, neighbours: int = 5) -> Tensor:
    """Steps along the graph of nearest neighbours of an embedding (K, d):  Q = exp(h R), h = -log `kept`: (T, K, K).

    R[i, j] = (A + A^T)[i, j]/(2 k) off the diagonal, A[i, j] = 1 where j is one of i's k nearest, and rows sum to 0; R
    is symmetric, so Q is doubly stochastic. Where alpha comes to 0, h is infinite, and what is left is uniform.
    Source: arXiv:2107.03006, app. A.2.4. Raises Refused for k outside 1 ... K - 1, and for a graph in several parts.
    """
    size = _checked(len(embedding))
    if not 1 <= neighbours < size:
        raise Refused(f"{size} symbols have 1 to {size - 1} nearest neighbours each, not {neighbours}")
    distance = torch.cdist(embedding.double().reshape(size, -1), embedding.double().reshape(size, -1))
    distance.fill_diagonal_(torch.inf)
    near = torch.zeros_like(distance).scatter_(1, distance.topk(neighbours, largest=False).indices, 1.0)
    rates = (near + near.T) / (2 * neighbours)
    rates = rates - torch.diag(rates.sum(1))
    values, axes = _decomposed(rates)
    still = values > -1e-9
    if int(still.sum()) > 1:
        raise Refused(
            f"the graph of {neighbours} nearest neighbours falls into {int(still.sum())} parts that no noise joins: "
            "take more neighbours"
        )
    amount = -kept(schedule).log()[:, None]
    decay = torch.where(still, 0.0, amount * torch.where(still, -1.0, values)).exp()
    matrices = ((axes * decay[:, None]) @ axes.T).clamp(min=0)
    return matrices / matrices.sum(-1, keepdim=True)


def _checked(size: int) -> int:
    if not 2 <= size <= SYMBOLS:
        raise Refused(f"transitions between {size:,} symbols are no table; 2 to {SYMBOLS:,} are, and Categorical any")
    return size


def _decomposed(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues and the orthonormal axes of a symmetric matrix."""
    values, axes = torch.linalg.eigh(matrix)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return values, axes  # pyright: ignore[reportUnknownVariableType]
