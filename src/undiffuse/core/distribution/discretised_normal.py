"""The discretised Gaussian: the probability that a normal gives to a level of quantised data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random


@dataclass(frozen=True)
class Decoder:
    """P(x) = Phi((x + w/2 - mean) / std) - Phi((x - w/2 - mean) / std), w = (high - low) / (levels - 1).

    The lowest and the highest level take all that lies beyond them, so that the levels' probabilities sum to 1.
    cdf: "erf" is exact, in float64 with logarithms in the tails; "tanh" is the approximation
    Phi(x) = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 with probabilities of at least 1e-12, for comparison with
    numbers from code that has it.
    Source: arXiv:2006.11239, eq. 13 (levels 256 on [-1, 1]); the released code for "tanh".
    Raises Refused for fewer than 2 levels and for low >= high.
    """

    low: float = -1.0
    high: float = 1.0
    levels: int = 256
    cdf: str = "erf"

    def __post_init__(self) -> None:
        if self.levels < 2 or not self.low < self.high:
            raise Refused(
                f"a decoder needs 2 levels or more and low < high, not {self.levels} on [{self.low:g}, {self.high:g}]"
            )
        if self.cdf not in _LOG_BINS:
            raise Refused(f"the decoder has no cdf {self.cdf!r}; it has: {', '.join(_LOG_BINS)}")

    @property
    def width(self) -> float:
        """The distance between two levels."""
        return (self.high - self.low) / (self.levels - 1)

    def check(self, x: Tensor) -> Tensor:
        """x, (batch, *shape), in float64 and exactly on its levels.

        Raises Refused for values outside [low, high] and for values between two levels.
        """
        level = (x.double() - self.low) / self.width
        nearest = level.round()
        if bool((nearest < 0).any()) or bool((nearest > self.levels - 1).any()):
            raise Refused(
                f"the data lie between {float(x.min()):g} and {float(x.max()):g}, "
                f"outside the decoder's range [{self.low:g}, {self.high:g}]"
            )
        if bool(((level - nearest).abs() > 0.05).any()):
            raise Refused(
                f"the data lie between the {self.levels} levels of [{self.low:g}, {self.high:g}]; "
                "without a decoder, or an objective with levels, they have a continuous density"
            )
        return self.low + nearest * self.width

    def places(self, x: Tensor) -> Tensor:
        """The numbers of the levels next to x, from 0, int64. Nothing is checked, which would make the host wait."""
        return ((x.double() - self.low) / self.width).round().long().clamp(0, self.levels - 1)

    def values(self, places: Tensor) -> Tensor:
        """The inverse of `places`: float32, or int64 where levels are the whole numbers from 0."""
        whole = self.low == 0 and self.width == 1
        return places if whole else (self.low + places.double() * self.width).float()

    def log_prob(self, x: Tensor, belief: Normal) -> Tensor:
        """log P(x) in nats, summed over elements: (batch,). x: (batch, *shape), on the levels, float64."""
        std = torch.as_tensor(belief.var, dtype=torch.float64, device=x.device).sqrt()
        rest, half = x - belief.mean.double(), self.width / 2
        below = torch.where(x <= self.low + half, -torch.inf, (rest - half) / std)
        above = torch.where(x >= self.high - half, torch.inf, (rest + half) / std)
        return _LOG_BINS[self.cdf](below, above).flatten(1).sum(1)

    def dequantise(self, x: Tensor, random: Random) -> Tensor:
        """x + width (u - 1/2), u uniform on (0, 1): every level is spread over its bin."""
        return x + self.width * (random.uniform(tuple(x.shape), device=x.device) - 0.5)


_special: Any = torch.special


def log_chance(below: Tensor, above: Tensor) -> Tensor:
    """log(Phi(above) - Phi(below)) of float64 below < above, taken in the left tail, where no digits are lost."""
    flip = below + above > 0
    below, above = torch.where(flip, -above, below), torch.where(flip, -below, above)
    most: Tensor = _special.log_ndtr(above)
    return most + (-(_special.log_ndtr(below) - most).exp()).log1p()


def _tanh(below: Tensor, above: Tensor) -> Tensor:
    return (_tanh_cdf(above) - _tanh_cdf(below)).clamp(min=1e-12).log()


def _tanh_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + ((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)).tanh())


_LOG_BINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"erf": log_chance, "tanh": _tanh}
