"""DPS: diffusion posterior sampling, a step down the measurement's residual after every step of a sampler."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.gradient import gradient
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.once import Memoised
from undiffuse.guidance.wrapping import Steered


@dataclass(frozen=True)
class DPS(Steered):
    """x_s = inner step - weight length grad_{x_t} r,  r = |y - A guess(x_t)|, for any differentiable operator A.

    step_by: "error": length = max(r - std sqrt(d), 0)/|grad r|^2, where to first order the guess misses the d measured
    numbers by no more than their noise, at any noise level and with any number of steps. "constant": length = 1, as
    published, which depends on neither; the weight (0.3 to 1 in the paper, for 1,000 steps) is then to be tuned.
    Both are heuristics: neither is the posterior's score. A stochastic sampler, such as `Ancestral`, mends what the
    steps break.
    sampler: any; samplers that call the denoiser more than once a step are guided at its first call.
    Raises Refused for an operator that is not differentiable, a negative weight and an unknown step.
    Source: arXiv:2209.14687, alg. 1; Polyak's length of a step.
    """

    sampler: Sampler
    measurement: Measurement
    weight: float = 1.0
    step_by: Literal["error", "constant"] = "error"

    default_steps: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise Refused(f"dps needs a weight of 0 or more, not {self.weight:g}")
        if self.step_by not in LENGTHS:
            raise unknown("step_by of dps", self.step_by, LENGTHS)

    @property
    def batch_times(self) -> bool:  # type: ignore[override]
        return self.sampler.batch_times

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        watched, known = Memoised(denoiser), self.measurement
        missed: list[Tensor] = []

        def distance(x: Tensor) -> Tensor:
            residual = known.residual(watched.at(x_t, x, t, cond).mean).flatten(1)
            missed[:] = [(residual.detach().norm(dim=1) - known.std * residual.shape[1] ** 0.5).clamp(min=0)]
            return residual.norm(dim=1)

        slope = gradient(distance, x_t, "the measurement's operator")
        slope = slope * LENGTHS[self.step_by](missed[0], slope)
        belief: Any
        with torch.no_grad():
            belief, memory = self.sampler.step(watched, x_t, t, s, memory, random=random, **cond)
        return replace(belief, mean=belief.mean - self.weight * slope), memory


def _by_error(missed: Tensor, slope: Tensor) -> Tensor:
    steepness = slope.flatten(1).square().sum(1)
    length = missed / torch.where(steepness > 0, steepness, 1.0)
    return column(length, slope)


def _constant(missed: Tensor, slope: Tensor) -> Tensor:
    return torch.ones((), dtype=slope.dtype, device=slope.device)


LENGTHS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"error": _by_error, "constant": _constant}
