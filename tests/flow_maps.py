"""Exact flow maps of data in one dimension, and small networks that are trained to reach them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.jumps import Jumps, conditions
from undiffuse.core.objective import Batch, Objective
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.networks.mlp import MLP

Mixture = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]  # weights, means, standard deviations
TWO: Mixture = ((0.4, 0.6), (-0.6, 0.6), (0.5, 0.4))  # two modes, with some data between them
APART: Mixture = ((0.5, 0.5), (1.0, -1.0), (0.1, 0.1))


class MixtureMap(Denoiser):
    """The exact flow map of a mixture in one dimension: the monotone map x_s = F_s^-1(F_t(x_t)), (batch, 1).

    Where `to` is None it is the exact denoiser. Its tails are cut where the distribution function rounds to 0 or 1.
    """

    jumps = "any"
    process: Any

    def __init__(self, schedule: Schedule, mixture: Mixture = TWO) -> None:
        self.process = Gaussian(schedule)
        self.weights, self.means, self.stds = (torch.tensor(each, dtype=torch.float64) for each in mixture)
        self.denoiser = MixtureOracle(self.process, self.weights, self.means[:, None], self.stds**2)

    def __call__(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        if to is None:
            return self.denoiser(x_t, t)
        return Normal(guess_for(self.process, x_t, self.moved(x_t, t, to), t, to, self.denoiser(x_t, t).mean))

    def moved(self, x_t: Tensor, t: Any, s: Any) -> Tensor:
        """x_s on the path of the probability-flow ODE through x_t."""
        return inverse(lambda x: self.cdf(x, s), self.cdf(x_t.double(), t)).to(x_t.dtype)

    def cdf(self, x: Tensor, t: Any) -> Tensor:
        """The distribution function of q(x_t) at x (batch, 1)."""
        alpha, sigma = self.process.schedule.at(t, x)
        std = (alpha**2 * self.stds**2 + sigma**2).sqrt()
        return (self.weights * torch.special.ndtr((x - alpha * self.means) / std)).sum(-1, keepdim=True)

    def draw(self, count: int, random: Random) -> Tensor:
        return self.denoiser.draw(count, random)

    @property
    def std(self) -> float:
        """The standard deviation of the data."""
        mean = float(self.weights @ self.means)
        return float((self.weights @ (self.stds**2 + self.means**2) - mean**2).sqrt())

    def quantiles(self, count: int, t: float) -> Tensor:
        """States at t of equal shares of the data, (count, 1)."""
        ranks = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        return inverse(lambda x: self.cdf(x, t), ranks[:, None])


def inverse(cdf: Callable[[Tensor], Tensor], ranks: Tensor) -> Tensor:
    """Where a distribution function has these values, by bisection."""
    low, high = torch.full_like(ranks, -600.0), torch.full_like(ranks, 600.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = cdf(middle) < ranks
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


class GaussianMap(Denoiser):
    """The exact flow map of data N(mean, std^2): x_s = alpha_s m + (S_s / S_t) (x_t - alpha_t m), S the deviations."""

    jumps = "any"
    process: Any

    def __init__(self, schedule: Schedule, mean: float = 0.0, std: float = 0.5) -> None:
        self.process, self.mean, self.std = Gaussian(schedule), mean, std
        self.denoiser = GaussianOracle(self.process, mean, std**2)

    def __call__(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        if to is None:
            return self.denoiser(x_t, t)
        return Normal(guess_for(self.process, x_t, self.moved(x_t, t, to), t, to, self.denoiser(x_t, t).mean))

    def moved(self, x_t: Tensor, t: Any, s: Any) -> Tensor:
        (alpha, sigma), (alpha_s, sigma_s) = (self.process.schedule.at(each, x_t) for each in (t, s))
        ratio = ((alpha_s**2 * self.std**2 + sigma_s**2) / (alpha**2 * self.std**2 + sigma**2)).sqrt()
        return (alpha_s * self.mean + ratio * (x_t - alpha * self.mean)).to(x_t.dtype)


def guess_for(process: Gaussian, x_t: Tensor, x_s: Tensor, t: Any, s: Any, near: Tensor) -> Tensor:
    """The guess whose deterministic bridge from x_t at t lands on x_s at s; `near` where s = t."""
    (alpha, sigma), (alpha_s, sigma_s) = (process.schedule.at(each, x_t) for each in (t, s))
    keep = sigma_s / sigma
    pull = alpha_s - keep * alpha
    return torch.where(pull.abs() > 1e-9, (x_s - keep * x_t) / pull, near).to(x_t.dtype)


def landed(denoiser: Denoiser, x_t: Tensor, t: Any, s: Any, **cond: Any) -> Tensor:
    """Where one jump of a denoiser from x_t at t lands at s."""
    process: Any = denoiser.process
    return process.bridge(x_t, denoiser(x_t, t, to=s, **cond).mean_only(), s, t, process.keep(s, t, x_t)).mean


def small(schedule: Schedule, parameterization: str = "flow", jumps: Jumps = "any", width: int = 64) -> Predictor:
    """A network for points in one dimension, 13,000 weights."""
    network = MLP(shape=(1,), width=width, depth=3, waves=3, conditions=conditions(jumps, None))
    return Predictor(network, Gaussian(schedule), parameterization, jumps)


def train(
    model: Predictor, objective: Objective, data: Any = None, steps: int = 300, batch: int = 2048, lr: float = 1e-2
) -> Predictor:
    """The model, trained on draws of data (a `MixtureMap`; by default of two modes) with every player's Adam.

    The learning rate decays to 0 along a quarter of a cosine's wave, and the weights of the last fifth are averaged.
    """
    data = data or MixtureMap(model.process.schedule)  # type: ignore[union-attr]
    if (start := objective.initial()) is not None:
        model.load_state_dict({**model.state_dict(), **start.state_dict()})
    objective.begin(model, steps)
    players = objective.players(model)
    sides = [(each, [p for part in each.modules for p in part.parameters()]) for each in players]
    optimisers = [torch.optim.Adam(weights, lr if each.lr is None else each.lr, fused=True) for each, weights in sides]
    rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    every = [p for _, weights in sides for p in weights]
    average, first = torch.optim.swa_utils.AveragedModel(model), steps * 4 // 5
    for step in range(steps):
        random = Random(1, torch.arange(batch)).fold(step)
        x = data.draw(batch, Random(2).fold(step)).float()
        for (player, weights), optimiser, rate in zip(sides, optimisers, rates, strict=True):
            if step < player.start or step % player.every:
                continue
            for p in every:
                p.requires_grad_(any(p is own for own in weights))
            optimiser.param_groups[0]["lr"] = rate * float(torch.cos(torch.tensor(step / steps * 1.5708)))
            for update in range(player.updates):
                optimiser.zero_grad()
                own = random.fold(-update) if update else random
                objective.loss(model, Batch(x), own, step, player.name).mean().backward()  # pyright: ignore[reportUnknownMemberType]
                optimiser.step()
        with torch.no_grad():
            objective.after(model, step + 1)
        if step >= first:
            average.update_parameters(model)
    model.load_state_dict(average.module.state_dict())
    return model.requires_grad_(True).eval()


@torch.no_grad()
def distance(model: Denoiser, exact: MixtureMap, times: tuple[float, ...] = (1.0, 0.0)) -> float:
    """Root mean square, over equal shares of the data, between where jumps along these times land and where the exact
    map ends, in standard deviations of the data.
    """
    start = exact.quantiles(512, times[0]).float()
    x = start
    for t, s in pairwise(times):
        x = landed(model, x, t, s)
    wanted = exact.moved(start.double(), times[0], times[-1])
    return float((x - wanted).square().mean().sqrt()) / exact.std
