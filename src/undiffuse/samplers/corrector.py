"""Corrector: Langevin steps at one noise level beside the steps of any other sampler."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Corrector(Sampler):
    """x = x + a score + sqrt(2 a) noise, `corrections` times at a level:  a = 2 r^2 (snr |noise| / |score|)^2.

    predictor: the sampler between the levels, or its name. order: "predictor_corrector" corrects what the predictor
    made (the paper's algorithm), "corrector_predictor" what it starts from (the paper's code). r = alpha_t/alpha_s
    over the step, so r^2 is the paper's 1 - beta, and 1 where alpha = 1. Nothing is corrected at sigma = 0.
    norms: "level" takes |score| as it is for pure noise, so that |noise| / |score| = sigma; "batch" takes its mean over
    the batch, as the paper's code does: then a sample depends on the batch that it is drawn in. |noise| = sqrt(d).
    The law that a fixed a leaves is wider than the exact one, by a / (2 variance) of its variance.
    Source: arXiv:2011.13456, alg. 1, 4 and 5 (snr 0.16).
    """

    predictor: Sampler | str = "reverse_diffusion"
    order: Literal["predictor_corrector", "corrector_predictor"] = "predictor_corrector"
    corrections: int = 1
    snr: float = 0.16
    norms: Literal["level", "batch"] = "level"

    masks: ClassVar[bool] = False
    aliases: ClassVar[tuple[str, ...]] = ("pc", "predictor_corrector")
    grid: ClassVar[str] = "even"
    default_steps: ClassVar[int] = 1000

    def __post_init__(self) -> None:
        if self.order not in _ORDERS or self.norms not in _NORMS:
            raise Refused(
                f"corrector has order {' or '.join(_ORDERS)} and norms {' or '.join(_NORMS)}, "
                f"not {self.order!r} and {self.norms!r}"
            )
        if self.corrections < 1 or not 0 < self.snr < math.inf:
            raise Refused(f"corrector needs corrections >= 1 and snr > 0, not {self.corrections} and {self.snr:g}")
        _ = self.inner

    @property
    def inner(self) -> Sampler:
        """The predictor itself."""
        found = registry.get("samplers", self.predictor)() if isinstance(self.predictor, str) else self.predictor
        if type(found) is Corrector:
            raise Refused("corrector needs a predictor that is no corrector itself; ask for more corrections")
        return found

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        return _ORDERS[self.order](self, denoiser, x_t, t, s, memory, random, cond)

    def corrected(
        self, denoiser: Denoiser, x: Tensor, t: Tensor, share: float, random: Random, cond: dict[str, Any]
    ) -> Normal:
        """What the batch at t becomes, its last noise still to be drawn; share: r^2."""
        process: Any = denoiser.process
        belief = Normal(x, 0.0)
        for i in range(self.corrections):
            x = belief.sample(random.fold(i))
            score = process.score(x, denoiser(x, t, **cond), t)
            size = 2 * share * (self.snr * _NORMS[self.norms](process, score, t)) ** 2
            belief = Normal(x + size * score, 2 * size)
        return belief


def _share(process: Any, t: Tensor, s: Tensor) -> float:
    return float((process.schedule.alpha(t) / process.schedule.alpha(s)) ** 2)


def _predict_first(
    own: Corrector, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, memory: Any, random: Random, cond: Any
) -> tuple[Distribution, Any]:
    process: Any = denoiser.process
    belief, memory = own.inner.step(denoiser, x_t, t, s, memory, random=random.fold(0), **cond)
    if float(process.schedule.sigma(s)) == 0:
        return belief, memory
    x_s = belief.sample(random.fold(1))
    return own.corrected(denoiser, x_s, s, _share(process, t, s), random.fold(2), cond), memory


def _correct_first(
    own: Corrector, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, memory: Any, random: Random, cond: Any
) -> tuple[Distribution, Any]:
    share = _share(denoiser.process, t, s)
    x_t = own.corrected(denoiser, x_t, t, share, random.fold(2), cond).sample(random.fold(1))
    return own.inner.step(denoiser, x_t, t, s, memory, random=random.fold(0), **cond)


_ORDERS: dict[str, Callable[..., tuple[Distribution, Any]]] = {
    "predictor_corrector": _predict_first,
    "corrector_predictor": _correct_first,
}
_NORMS: dict[str, Callable[[Any, Tensor, Tensor], Any]] = {
    "level": lambda process, score, t: float(process.schedule.sigma(t)),
    "batch": lambda process, score, t: math.sqrt(score[0].numel()) / score.flatten(1).norm(dim=1).mean(),
}
