"""Parameterizations: what a network is fed and what its output means, as coefficients of one formula."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Schedule


class Scales(ABC):
    """guess = c_skip x_t + c_out F(c_in x_t, c_time): one row of the table of parameterizations.

    F is what the network outputs. alpha and sigma come in float64; all coefficients have their shape.
    """

    @abstractmethod
    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in."""

    def time(self, schedule: Schedule, t: Tensor) -> Tensor:
        """c_time: the schedule's step index unless a parameterization has its own."""
        return schedule.index(t)

    def target(self, x_0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What F should have said: (x_0 - c_skip x_t) / c_out."""
        c_skip, c_out, _ = self.coefficients(alpha, sigma)
        return (x_0 - c_skip * x_t) / c_out

    def no_density(self) -> str:
        """Why no probability density belongs to such guesses; "" where they are means of the data."""
        return ""


@dataclass(frozen=True)
class Noise(Scales):
    """F = noise:  x_0 = (x_t - sigma F) / alpha. Refused where alpha = 0, where the noise says nothing of the data.

    Source: arXiv:2006.11239, eq. 11.
    """

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _needs_signal(alpha, "noise")
        return 1 / alpha, -sigma / alpha, torch.ones_like(alpha)


@dataclass(frozen=True)
class Data(Scales):
    """F = x_0. Source: arXiv:2202.00512, sec. 4."""

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros_like(alpha), torch.ones_like(alpha), torch.ones_like(alpha)


@dataclass(frozen=True)
class Velocity(Scales):
    """F = v = alpha noise - sigma x_0:  x_0 = (alpha x_t - sigma F) / (alpha^2 + sigma^2).
    Source: arXiv:2202.00512, app. D.
    """

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = alpha**2 + sigma**2
        return alpha / total, -sigma / total, torch.ones_like(alpha)


@dataclass(frozen=True)
class Score(Scales):
    """F = sigma * score, the score of q(x_t):  x_0 = (x_t + sigma F) / alpha,
    so that F has unit size at every noise level.

    Refused where alpha = 0. Source: arXiv:2006.09011, technique 3 (score = network / sigma).
    """

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _needs_signal(alpha, "score")
        return 1 / alpha, sigma / alpha, torch.ones_like(alpha)


@dataclass(frozen=True)
class Flow(Scales):
    """F = noise - x_0, the velocity of the straight path:  x_0 = (x_t - sigma F) / (alpha + sigma).
    Source: arXiv:2210.02747, eq. 23.
    """

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = alpha + sigma
        return 1 / total, -sigma / total, torch.ones_like(alpha)


@dataclass(frozen=True)
class EDM(Scales):
    """EDM's F, whose input and target have unit variance:  with s = sigma/alpha,
    c_skip = data_std^2 / (s^2 + data_std^2) / alpha, c_out = s data_std / sqrt(s^2 + data_std^2),
    c_in = 1 / (alpha sqrt(s^2 + data_std^2)), c_time = log(s) / 4.

    Source: arXiv:2206.00364, table 1 (data_std 0.5), for any schedule by x_t / alpha = x_0 + s noise.
    Written so that alpha = 0 needs no division.
    """

    data_std: float = 0.5

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = (alpha * self.data_std) ** 2 + sigma**2  # the variance of x_t
        return alpha * self.data_std**2 / total, sigma * self.data_std / total.sqrt(), total.rsqrt()

    def time(self, schedule: Schedule, t: Tensor) -> Tensor:
        return (-schedule.log_snr(t) / 8).clamp(-10, 10)


@dataclass(frozen=True)
class Consistency(Scales):
    """A consistency function: EDM's F, shifted so that guess = x_t / alpha exactly at s = sigma_min:
    with s = sigma/alpha,
    c_skip = data_std^2 / ((s - sigma_min)^2 + data_std^2) / alpha,
    c_out = (s - sigma_min) data_std / sqrt(s^2 + data_std^2), c_in as EDM, c_time = 250 log(s).

    Source: arXiv:2303.01469, app. C, and the released code. Below sigma_min the guess is x_t / alpha.
    """

    data_std: float = 0.5
    sigma_min: float = 0.002

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        over = (sigma - self.sigma_min * alpha).clamp(min=0)  # alpha (s - sigma_min)
        total = ((alpha * self.data_std) ** 2 + sigma**2).sqrt()
        return (
            alpha * self.data_std**2 / (over**2 + (alpha * self.data_std) ** 2),
            over * self.data_std / total,
            1 / total,
        )

    def time(self, schedule: Schedule, t: Tensor) -> Tensor:
        return (-125 * schedule.log_snr(t)).clamp(-10000, 10000)

    def no_density(self) -> str:
        return "a consistency function guesses where a path ends, not the mean of the data"


def _needs_signal(alpha: Tensor, what: str) -> None:
    """Raises Refused where nothing of the data is left, as far as can be seen without waiting for a GPU."""
    if alpha.device.type == "cpu" and bool((alpha <= 0).any()):
        raise Refused(
            f"{what} prediction is undefined where alpha = 0: nothing of the data is left; "
            "use velocity or data, or start at a t where alpha > 0"
        )
