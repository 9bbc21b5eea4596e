"""DPS: diffusion posterior sampling, a step down the measurement's residual after every step of a sampler."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.gradient import gradient
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.once import Memoised
from undiffuse.guidance.wrapping import Steered


@dataclass(frozen=True)
class DPS(Steered):
    """x_s = inner step - weight grad_{x_t} |y - A guess(x_t)|, for any differentiable operator A.

    The published heuristic: the step's size does not depend on the noise level, so it neither is the posterior's score
    nor becomes it with more steps; the weight (0.3 to 1 in the paper, for 1,000 steps) is to be tuned.
    sampler: any; samplers that call the denoiser more than once a step are guided at its first call.
    Raises Refused for an operator that is not differentiable. Source: arXiv:2209.14687, alg. 1.
    """

    sampler: Sampler
    measurement: Measurement
    weight: float = 1.0

    default_steps: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise Refused(f"dps needs a weight of 0 or more, not {self.weight:g}")

    @property
    def batch_times(self) -> bool:  # type: ignore[override]
        return self.sampler.batch_times

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        watched = Memoised(denoiser)

        def distance(x: Tensor) -> Tensor:
            return self.measurement.residual(watched.at(x_t, x, t, cond).mean).flatten(1).norm(dim=1)

        slope = gradient(distance, x_t, "the measurement's operator")
        belief: Any
        with torch.no_grad():
            belief, memory = self.sampler.step(watched, x_t, t, s, memory, random=random, **cond)
        return replace(belief, mean=belief.mean - self.weight * slope), memory
