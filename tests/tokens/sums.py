"""Sums over all sequences and integrals over time, and a network that is any function of a short sequence."""

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.random import Random


def moments(denoiser: Denoiser, sequences: Tensor, probs: Tensor, points: int = 24) -> float:
    """The integral over t of the rate, in expectation over data and noise by sums; Gauss and Legendre's points."""
    process: Any = denoiser.process
    nodes, weights = gauss(points)
    noisy = torch.tensor(list(product(range(process.vocabulary), repeat=sequences.shape[1])))
    x, x_t = sequences.repeat_interleave(len(noisy), 0), noisy.repeat(len(sequences), 1)
    total = 0.0
    for t, width in zip(nodes, weights, strict=True):
        chance = probs.repeat_interleave(len(noisy)) * process.marginal(x, t).log_prob(x_t).exp()
        guess: Any = denoiser(x_t, t)
        cost = rate(process, x, x_t, guess, t)
        total += float(width * torch.where(chance > 0, chance * cost, 0.0).sum().detach())
    return total


def gauss(points: int) -> tuple[Tensor, Tensor]:
    """For the integral from 0 to 1, with t = u^2, which makes square roots near data smooth."""
    u, w = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(points))
    u, w = (u + 1) / 2, w / 2
    return u**2, 2 * u * w


class Net(torch.nn.Module):
    """Any function of a short sequence: logits from a table over all of them."""

    def __init__(self, size: int, length: int, seed: int = 0) -> None:
        super().__init__()
        rows = torch.arange(size**length)
        self.table = torch.nn.Parameter(Random(seed, rows).normal((len(rows), length, size), dtype=torch.float64))
        self.size, self.length = size, length

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        place = (x * self.size ** torch.arange(self.length - 1, -1, -1)).sum(1)
        return self.table[place] * (1 + c_time.double()[:, None, None] / 1e4)


def network(process: Any, output: str, length: int = 3) -> Predictor:
    return Predictor(Net(process.vocabulary, length), process, TokenHead(output, 3))
