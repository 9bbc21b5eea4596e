"""Annealed Langevin dynamics: many small steps at each level of a falling ladder of noise."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.samplers.langevin import langevin


@dataclass(frozen=True)
class AnnealedLangevin(Sampler):
    """`updates` Langevin steps, a = step_size (sigma_t / sigma_last)^2, at the level t, then on to the next level.

    convention: "ncsn" is x + a/2 score + sqrt(a) noise (arXiv:1907.05600, alg. 1: 2e-5, 100 updates, 10 levels);
    "ncsnv2" is x + a score + sqrt(2 a) noise (arXiv:2006.09011, alg. 1: 6.2e-6, 5 updates, 232 levels), so that the
    same number is twice the step. sigma_last is the ladder's lowest level, to which `step_size` belongs.
    denoise: the last level ends with its guess, x + sigma^2 score; without, with its last noisy state.
    The grid is the ladder itself, `even` with as many steps as it has levels. Where alpha is not 1 the batch moves on
    times alpha_s/alpha_t, which keeps the signal. A level's own law at finite a is wider than the exact one:
    `langevin.widened`.
    """

    convention: Literal["ncsn", "ncsnv2"] = "ncsn"
    step_size: float = 2e-5
    updates: int = 100
    sigma_last: float = 0.01
    denoise: bool = True

    aliases: ClassVar[tuple[str, ...]] = ("ald", "langevin", "ncsn")
    grid: ClassVar[str] = "even"
    default_steps: ClassVar[int] = 10

    def __post_init__(self) -> None:
        if self.convention not in _FACTORS:
            raise Refused(f"annealed_langevin has conventions {' and '.join(_FACTORS)}, not {self.convention!r}")
        if self.updates < 1 or not 0 < self.step_size < math.inf or not 0 < self.sigma_last < math.inf:
            raise Refused(
                "annealed_langevin needs updates >= 1, step_size > 0 and sigma_last > 0, "
                f"not {self.updates}, {self.step_size:g} and {self.sigma_last:g}"
            )

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        alpha_t, sigma_t = (float(c) for c in process.schedule.at(t, torch.empty((), dtype=torch.float64)))
        size = _FACTORS[self.convention] * self.step_size * (sigma_t / self.sigma_last) ** 2
        x_t = langevin(lambda x: process.score(x, denoiser(x, t, **cond), t), x_t, size, self.updates, random)
        if float(process.schedule.sigma(s)) == 0:
            return (denoiser(x_t, t, **cond).mean_only() if self.denoise else Normal(x_t, 0.0)), None
        return Normal(x_t * (float(process.schedule.alpha(s)) / alpha_t if alpha_t > 0 else 1.0), 0.0), None


_FACTORS = {"ncsn": 0.5, "ncsnv2": 1.0}  # of a, in x + a score + sqrt(2 a) noise
