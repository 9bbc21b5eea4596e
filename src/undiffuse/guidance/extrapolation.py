"""Extrapolation: from a worse guess through a better one, at the noise levels where it helps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution, each
from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.schedule import Schedule
from undiffuse.guidance.wrapping import Guided

Interval = tuple[float, float]


class Extrapolation(Guided, ABC):
    """guess = better + (weight - 1) (better - worse), inside an interval of noise levels; outside, the better guess.

    Of values this moves the mean, and a variance is the better guess's; of tokens it is of log-probabilities.
    What its subclasses, dataclasses all, have in common:
    weight: 1 is the better guess alone (and costs one call), 0 the worse one's mean.
    interval: (low, high], of sigma/alpha, in which to guide; none: everywhere (arXiv:2404.07724).
    rescale: share of the guess whose standard deviation over a sample is that of the better guess (arXiv:2305.08891,
    eq. 15 and 16, there on the network's output); a sample of one number, or of equal ones, has none and stays.
    parallel: share kept of the difference's part along the better guess; largest: the difference's largest norm. 0 and
    a number are adaptive projected guidance without momentum (arXiv:2410.02416, sec. 4).
    """

    denoiser: Denoiser
    weight: float
    interval: Interval | None
    rescale: float
    parallel: float
    largest: float

    def takes(self) -> frozenset[str]:
        return VALUES if self.rescale or self.parallel != 1 or not math.isinf(self.largest) else self.families

    @abstractmethod
    def pair(self, x_t: Any, t: Tensor | float, cond: Mapping[str, Any]) -> tuple[Distribution, Distribution]:
        """The worse and the better guess."""

    def no_density(self) -> str:
        if self.weight == 1:
            return self.denoiser.no_density()
        return f"guidance with weight {self.weight:g} moves the guesses away from the means of any one density"

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        weight = within(self.interval, self.process.schedule, t, self.weight, otherwise=1.0)
        if not isinstance(weight, Tensor) and weight == 1:
            return self.denoiser(x_t, t, **cond)
        worse, better = self.pair(x_t, t, cond)
        if self.parallel == 1 and math.isinf(self.largest):
            guess = worse.blend(better, weight)
        else:
            guess = self._projected(worse, better, weight)
        return self._rescaled(guess, better) if self.rescale else guess

    def __post_init__(self) -> None:
        super().__post_init__()
        check_interval(self.interval)
        if not 0 <= self.rescale <= 1 or not 0 <= self.parallel <= 1 or not self.largest > 0:
            raise Refused(
                "guidance needs rescale and parallel in [0, 1] and largest > 0, "
                f"not {self.rescale:g}, {self.parallel:g} and {self.largest:g}"
            )

    def _projected(self, worse: Any, better: Any, weight: float | Tensor) -> Any:
        difference = better.mean - worse.mean
        along = _each(better.mean)
        size = _each(difference)
        difference = difference * (self.largest / size.clamp(min=1e-30)).clamp(max=1)
        unit = better.mean / along.clamp(min=1e-30)
        part = (difference * unit).flatten(1).sum(1).reshape(size.shape) * unit
        return replace(
            better, mean=better.mean + each(weight - 1, difference) * (difference - (1 - self.parallel) * part)
        )

    def _rescaled(self, guess: Any, better: Any) -> Any:
        have, wanted = (column(x.flatten(1).std(1, correction=0), x) for x in (guess.mean, better.mean))
        ratio = torch.where(have > 0, wanted / torch.where(have > 0, have, 1.0), 1.0)
        return replace(guess, mean=guess.mean * (self.rescale * ratio + 1 - self.rescale))


def within(
    interval: Interval | None, schedule: Schedule, t: Tensor | float, inside: float, otherwise: float
) -> float | Tensor:
    """One number where sigma/alpha lies in (low, high], another elsewhere; for times t (batch,) a tensor (batch,)."""
    if interval is None:
        return inside
    t = torch.as_tensor(t, dtype=torch.float64)
    level = (-0.5 * schedule.log_snr(t)).exp()
    guided = (level > interval[0]) & (level <= interval[1])
    if t.ndim == 0:
        return inside if bool(guided) else otherwise
    return torch.where(guided, torch.as_tensor(inside, dtype=t.dtype, device=t.device), otherwise)


def same_vocabulary(one: Any, other: Any) -> None:
    """Raises Refused for two processes of tokens that are not the same tokens."""
    sizes = [process.vocabulary for process in (one, other)]
    if sizes[0] != sizes[1]:
        raise Refused(
            f"guidance between different vocabularies, of {sizes[0]} and {sizes[1]} symbols (0: values), mixes "
            "what is not the same: both models need the same tokens"
        )


def check_interval(interval: Interval | None) -> None:
    """Raises Refused unless 0 <= low < high."""
    if interval is not None and not 0 <= interval[0] < interval[1]:
        raise Refused(
            "a guidance interval is (low, high] in the noise level sigma/alpha, with 0 <= low < high, "
            f"not {interval[0]:g} to {interval[1]:g}"
        )


def _each(x: Tensor) -> Tensor:
    """Each sample's norm, shaped to multiply it."""
    return column(x.flatten(1).norm(dim=1), x)
