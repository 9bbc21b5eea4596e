"""Adams: an exponential multistep predictor-corrector for the probability-flow ODE, one call a step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler

_POINTS, _SHARES = np.polynomial.legendre.leggauss(20)  # exact for polynomials of degree 39
_CLEAN = 1e-12  # below this noise level a time is data
_FAR = 1e3  # about this noise level nothing more can be told apart


class Past(NamedTuple):
    """What the next step needs of this one: where it started and landed, the last guesses, newest first,
    and their weights in the prediction.
    """

    start: float
    levels: tuple[float, ...]
    guesses: tuple[Tensor, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Adams(Sampler):
    """x_s = (sigma_s/sigma_t) x_t + sigma_s integral of D d(alpha/sigma) from t to s,
    D the polynomial through the last guesses.

    The polynomial is in u = log(v^2 + knee^2), v = sigma/alpha: even in log v in noise, but flat near data,
    as the guesses are. So the step onto
    sigma = 0 is as good as the others, where a polynomial in log v must fall back to first order.
    order: how many guesses predict x_s. corrector: how many, the new one among them, correct x_t before the next step,
    which costs no call
    (arXiv:2302.04867, sec. 3.1); 0 leaves it out. The first steps have the order that their history allows.
    Source: exponential Adams methods as in arXiv:2204.13902, eq. 14;
    u and the defaults are our own, chosen by measurement (benchmarks/accuracy.py).
    """

    order: int = 4
    corrector: int = 4
    knee: float = 0.7

    aliases: ClassVar[tuple[str, ...]] = ("unipc", "unipc_multistep", "deis", "deis_multistep")

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 4 or not 0 <= self.corrector <= 5 or self.knee <= 0:
            raise Refused(f"adams has order 1 to 4, corrector 0 to 5 and knee > 0; not {self!r}")

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        here, there = (float((-process.schedule.log_snr(time) / 2).exp()) for time in (t, s))
        past = memory or Past(here, (), (), ())
        levels = (here, *past.levels)
        guesses = (denoiser(x_t, t, **cond).mean, *past.guesses)
        sigma_t, sigma_s = process.schedule.sigma(t), process.schedule.sigma(s)
        if past.guesses and self.corrector:
            better = self._weights(levels[: self.corrector], past.start, here)
            change = _difference(better, (0.0, *past.weights))
            x_t = x_t + _combine(change, guesses, float(sigma_t))
        weights = self._weights(levels[: self.order], here, there)
        scale = float(sigma_s) if there > _CLEAN else 1.0
        x_s = float(sigma_s / sigma_t) * x_t + _combine(weights, guesses, scale)
        longest = max(self.order, self.corrector - 1)
        return Normal(x_s, 0.0), Past(here, levels[:longest], guesses[:longest], weights)

    def _weights(self, levels: Sequence[float], start: float, end: float) -> tuple[float, ...]:
        """The integral of each guess's Lagrange polynomial over d(1/v) from start to end, or, onto data,
        its value there.
        """
        nodes = self._u(np.asarray(levels))
        if end <= _CLEAN:
            return tuple(float(value[0]) for value in _lagrange(nodes, self._u(np.zeros(1))))
        low, high = 1 / start, 1 / end
        points = (low + high) / 2 + (high - low) / 2 * _POINTS
        return tuple(float(value @ _SHARES * (high - low) / 2) for value in _lagrange(nodes, self._u(1 / points)))

    def _u(self, v: np.ndarray) -> np.ndarray:
        """The polynomial's variable; bent to stay finite where nothing of the data is left (v infinite)."""
        noisy, clean = 1 / np.maximum(v, 1), np.minimum(v, 1)  # each is right on its own side of v = 1
        far = (1 + (self.knee * noisy) ** 2) / (noisy**2 + _FAR**-2)
        near = (clean**2 + self.knee**2) / (1 + (clean / _FAR) ** 2)
        return np.log(np.where(v > 1, far, near))


def _lagrange(nodes: np.ndarray, at: np.ndarray) -> list[np.ndarray]:
    """The polynomials that are 1 at one node and 0 at the others, at these points."""
    others = [np.delete(nodes, i) for i in range(len(nodes))]
    return [
        np.prod([(at - o) / (node - o) for o in rest], axis=0) * np.ones_like(at)
        for node, rest in zip(nodes, others, strict=True)
    ]


def _difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    """a - b, the shorter one filled with zeros."""
    size = max(len(a), len(b))
    return tuple(float(v) for v in np.pad(a, (0, size - len(a))) - np.pad(b, (0, size - len(b))))


def _combine(weights: Iterable[float], guesses: Iterable[Tensor], scale: float) -> Tensor:
    """scale sum w_i D_i."""
    total: Any = 0
    for weight, guess in zip(weights, guesses, strict=False):
        total = total + scale * weight * guess
    return total
