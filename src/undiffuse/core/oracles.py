"""Exact denoisers: what a perfect network would say, in closed form, for data that can be written down."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.joint import Joint
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.core.schedule import as_time


class GaussianOracle(Denoiser):
    """Data N(mean, cov):  E[x_0 given x_t] = mean + alpha cov (alpha^2 cov + sigma^2)^-1 (x_t - alpha mean);
    the variance is the posterior's diagonal.

    mean: a number or (d,); cov: a number, (d,) variances or (d, d).
    Data has shape (batch, d), or any shape for numbers.
    """

    def __init__(self, process: Gaussian, mean: Tensor | float = 0.0, cov: Tensor | float = 1.0) -> None:
        self.process = process
        self.mean = torch.as_tensor(mean, dtype=torch.float64)
        cov = torch.as_tensor(cov, dtype=torch.float64)
        self.variances, self.axes = _axes(cov) if cov.ndim == 2 else (cov, None)

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        alpha, sigma = self.process.schedule.at(t, x_t)
        rest = x_t.double() - alpha * self.mean
        rest = rest if self.axes is None else rest @ self.axes
        total = alpha**2 * self.variances + sigma**2
        shift = torch.where(total > 0, alpha * self.variances / total, 0.0) * rest
        left = torch.where(total > 0, self.variances * sigma**2 / total, 0.0)
        if self.axes is not None:
            shift, left = shift @ self.axes.T, left @ (self.axes**2).T
        return Normal((self.mean + shift).to(x_t.dtype), left.to(x_t.dtype))

    def draw(self, count: int, random: Random) -> Tensor:
        """(count, d) samples of the data, in float64."""
        size = max(self.mean.numel(), self.variances.numel())
        noise = random.normal((count, size), dtype=torch.float64) * self.variances.sqrt()
        return self.mean + (noise if self.axes is None else noise @ self.axes.T)


class MixtureOracle(Denoiser):
    """Data sum_k weights_k N(means_k, covs_k): the responsibilities of x_t mix the components' posteriors.

    weights: (k,); means: (k, d); covs: (k,) or (k, d) variances, or (k, d, d). Data has shape (batch, d).
    """

    def __init__(self, process: Gaussian, weights: Tensor | Sequence[float], means: Tensor, covs: Tensor) -> None:
        self.process = process
        self.weights = torch.as_tensor(weights, dtype=torch.float64)
        self.weights = self.weights / self.weights.sum()
        self.means = torch.as_tensor(means, dtype=torch.float64)
        covs = torch.as_tensor(covs, dtype=torch.float64)
        k, d = self.means.shape
        if covs.ndim == 3:
            self.variances, self.axes = _axes(covs)  # (k, d), (k, d, d)
        else:
            self.variances, self.axes = covs.reshape(k, -1).expand(k, d), None

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        alpha, sigma = self.process.schedule.at(t, x_t)
        alpha, sigma = (c[..., None] if c.ndim else c for c in (alpha, sigma))  # (batch, 1, 1)
        total = alpha**2 * self.variances + sigma**2  # (k, d)
        rest = x_t.double()[:, None] - alpha * self.means  # (batch, k, d)
        rest = rest if self.axes is None else torch.einsum("bkd,kde->bke", rest, self.axes)
        share = (self.weights.log() - 0.5 * (rest**2 / total + total.log()).sum(-1)).softmax(-1)[:, None]
        shift, left = rest * alpha * self.variances / total, self.variances * sigma**2 / total
        if self.axes is not None:
            shift = torch.einsum("bke,kde->bkd", shift, self.axes)
            left = torch.einsum("...ke,kde->...kd", left, self.axes**2)
        posterior = self.means + shift
        mean = (share @ posterior)[:, 0]
        var = (share @ (left + (posterior - mean[:, None]) ** 2))[:, 0]
        return Normal(mean.to(x_t.dtype), var.to(x_t.dtype))

    def draw(self, count: int, random: Random) -> Tensor:
        """(count, d) samples of the data, in float64."""
        k = torch.searchsorted(self.weights.cumsum(0), random.fold(0).uniform((count,))).clamp(
            max=len(self.weights) - 1
        )
        noise = random.fold(1).normal((count, self.means.shape[1]), dtype=torch.float64) * self.variances[k].sqrt()
        return self.means[k] + (noise if self.axes is None else torch.einsum("be,bde->bd", noise, self.axes[k]))


class DatasetOracle(Denoiser):
    """Data uniform on a finite set: the softmax of -|x_t - alpha x_i|^2 / (2 sigma^2) weighs its points x_i, (n,
    *shape).

    The optimum that a network fitted to this set tends to: sampling it gives back the set.
    """

    def __init__(self, process: Gaussian, points: Tensor) -> None:
        self.process = process
        self.points = points.double()

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        alpha, sigma = (c.reshape(-1, 1) for c in self.process.schedule.at(t, x_t))
        points = self.points.flatten(1)
        x = x_t.double().flatten(1)
        distance = (x**2).sum(1, keepdim=True) - 2 * alpha * x @ points.T + alpha**2 * (points**2).sum(1)
        share = (-distance / (2 * sigma**2).clamp(min=1e-300)).softmax(-1)
        mean = share @ points
        var = (share @ points**2 - mean**2).clamp(min=0)
        return Normal(mean.reshape(x_t.shape).to(x_t.dtype), var.reshape(x_t.shape).to(x_t.dtype))


class TokenOracle(Denoiser):
    """Data from a table of whole sequences: p(x_0 given x_t) by Bayes, position by position, exactly.

    sequences: (n, length) int64; probs: (n,). The posterior of a sequence is its prior times prod_l q(x_t^l given
    x_0^l).
    Where no sequence can have become x_t, those with the fewest impossible tokens count:
    the limit of a little noise on every token.
    """

    process: Any

    def __init__(self, process: Any, sequences: Tensor, probs: Tensor | Sequence[float]) -> None:
        self.process = process
        probs = torch.as_tensor(probs, dtype=torch.float64)
        self.sequences = sequences.long()[probs > 0]
        self.probs = probs[probs > 0] / probs.sum()

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Tokens:
        t = torch.full_like(as_time(t), 0.5) if self.timeless else t  # at t = 1 no token could have been revealed
        each = self.process.likelihood(x_t, t)  # (batch, length, vocabulary), over x_0
        place = torch.arange(x_t.shape[1])
        likelihood = each[:, place, self.sequences]  # (batch, n, length)
        misses = (likelihood == 0).sum(-1)  # (batch, n)
        score = self.probs.log() + torch.where(likelihood > 0, likelihood, 1.0).log().sum(-1)
        posterior = torch.where(misses == misses.amin(1, keepdim=True), score, -torch.inf).softmax(-1)  # (batch, n)
        onehot = torch.nn.functional.one_hot(self.sequences, self.process.vocabulary).double()  # (n, length, K)
        return Tokens(torch.einsum("bn,nlv->blv", posterior, onehot).clamp(0, 1).log())

    @property
    def timeless(self) -> bool:  # type: ignore[override]
        """Whether the guess depends on x_t alone, as with a mask that is no data, which hides alike at any time."""
        mask = self.process.absorbing
        return mask is not None and not bool((self.sequences == mask).any())

    def draw(self, count: int, random: Random) -> Tensor:
        """(count, length) samples of the data."""
        rows = torch.searchsorted(self.probs.cumsum(0), random.uniform((count,))).clamp(max=len(self.probs) - 1)
        return self.sequences[rows]


class PartsOracle(Denoiser):
    """Parts of a `Product` that are independent, each with an oracle of its own, by name."""

    def __init__(self, process: Product, oracles: Mapping[str, Denoiser]) -> None:
        self.process = process
        self.oracles = dict(oracles)

    def __call__(self, x_t: Mapping[str, Any], t: Tensor | float, **cond: Any) -> Joint:
        return Joint({name: self.oracles[name](x_t[name], t, **cond) for name in x_t})


def _axes(cov: Tensor) -> tuple[Tensor, Tensor]:
    """The variances and the orthonormal axes of (..., d, d) covariances."""
    variances, axes = torch.linalg.eigh(cov)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return variances, axes  # pyright: ignore[reportUnknownVariableType]
