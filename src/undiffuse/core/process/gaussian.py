"""The Gaussian process: values, destroyed by normal noise."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.process.process import Process
from undiffuse.core.schedule import Schedule, as_time


@dataclass(frozen=True)
class Gaussian(Process):
    """x_t = alpha x_0 + sigma noise;  x_s = keep x_t + pull x_0 + fresh noise,
    fresh^2 = sigma_s^2 - keep^2 sigma_t^2.
    """

    family: ClassVar[str] = "values"
    default_sampler: ClassVar[str] = "adams"  # by measurement (benchmarks/accuracy.py), as its grid
    default_grid: ClassVar[str] = "logistic"
    schedule: Schedule

    def point(self, x_0: Tensor) -> Normal:
        return Normal(x_0, 0.0)

    def prior(self, shape: tuple[int, ...] | torch.Size, t: Tensor | float = 1.0) -> Normal:
        """N(0, prior_std^2), in float32."""
        std = self.schedule.prior_std(as_time(t))
        return Normal(torch.zeros(tuple(shape), dtype=torch.float32), (std**2).float())

    def marginal(self, x_0: Tensor, t: Tensor | float) -> Normal:
        """N(alpha x_0, sigma^2)."""
        alpha, sigma = self.schedule.at(t, x_0)
        return Normal(_cast(alpha, x_0) * x_0, _cast(sigma**2, x_0))

    def bridge(
        self, x_t: Tensor, x_0: Normal, s: Tensor | float, t: Tensor | float, keep: Tensor | None = None
    ) -> Normal:
        """N(keep x_t + pull mean, fresh^2 + pull^2 var).

        keep = None is the Markov process: reversed, and where s is noisier than t its forward kernel (pull = 0).
        Source: keep = None gives arXiv:2006.11239, eq. 6 and 7; sigma_s/sigma_t arXiv:2010.02502, eq. 12 without noise.
        Raises ValueError for a keep above sigma_s/sigma_t, which would need a negative variance.
        """
        alpha_s, sigma_s = self.schedule.at(s, x_t)
        alpha_t, sigma_t = self.schedule.at(t, x_t)
        whole = _keep(alpha_s, sigma_s, alpha_t, sigma_t, 1.0) if keep is None else keep
        keep = torch.as_tensor(whole, dtype=torch.float64)
        pull = alpha_s - keep * alpha_t
        fresh = sigma_s**2 - keep**2 * sigma_t**2
        if fresh.device.type == "cpu" and bool((fresh < -1e-9 * sigma_s**2).any()):
            raise ValueError("keep is larger than sigma_s/sigma_t: the bridge would need a negative variance")
        fresh = torch.where(fresh > 1e-12 * sigma_s**2, fresh, 0.0)  # what rounding leaves of "no noise" is none
        mean = _cast(keep, x_t) * x_t + _cast(pull, x_t) * x_0.mean
        var = x_0.var if isinstance(x_0.var, Tensor) else torch.tensor(x_0.var, dtype=torch.float64)
        return Normal(mean, _cast(fresh, x_t) + _cast(pull**2, x_t) * _cast(var, x_t))

    def keep(self, s: Tensor | float, t: Tensor | float, like: Tensor, eta: float = 0.0) -> Tensor:
        """sqrt(sigma_s^2 - eta^2 v) / sigma_t,  v = sigma_s^2 (1 - min(r, 1/r)^2).

        r = alpha_t sigma_s / (alpha_s sigma_t), and v is the Markov process's own variance: on the way to data, where
        r < 1, this is DDIM's eta (arXiv:2010.02502, eq. 16). From clean data, where keep x_t + pull x_0 is alpha_s x_0
        for any keep, it is alpha_s.
        """
        alpha_s, sigma_s = self.schedule.at(s, like)
        alpha_t, sigma_t = self.schedule.at(t, like)
        return _keep(alpha_s, sigma_s, alpha_t, sigma_t, eta)

    def kernel_variance(self, s: Tensor | float, t: Tensor | float, like: Tensor) -> Tensor:
        """The variance of the forward kernel q(x_t given x_s): sigma_t^2 - (alpha_t/alpha_s)^2 sigma_s^2;
        DDPM's beta.
        """
        alpha_s, sigma_s = self.schedule.at(s, like)
        alpha_t, sigma_t = self.schedule.at(t, like)
        return _cast(sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2, like)

    def noise(self, x_t: Tensor, guess: Normal, t: Tensor | float) -> Tensor:
        """The noise in x_t if the guess is right: (x_t - alpha mean) / sigma."""
        alpha, sigma = self.schedule.at(t, x_t)
        return (x_t - _cast(alpha, x_t) * guess.mean) / _cast(sigma, x_t)

    def velocity(self, x_t: Tensor, guess: Normal, t: Tensor | float) -> Tensor:
        """dx/dt of the probability-flow ODE: alpha'(t) mean + sigma'(t) noise (arXiv:2011.13456, eq.
        13, in the terms of the guess).
        """
        alpha_rate, sigma_rate = self.rates(t, x_t)
        return _cast(alpha_rate, x_t) * guess.mean + _cast(sigma_rate, x_t) * self.noise(x_t, guess, t)

    def score(self, x_t: Tensor, guess: Normal, t: Tensor | float) -> Tensor:
        """The gradient of log q(x_t) if the guess is E[x_0 given x_t]: (alpha mean - x_t) / sigma^2."""
        alpha, sigma = self.schedule.at(t, x_t)
        return (_cast(alpha, x_t) * guess.mean - x_t) / _cast(sigma**2, x_t)

    def drift_and_diffusion(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """f and g^2 of the forward dx = f x dt + g dw, in float64 and shaped to multiply `like`:
        f = alpha'/alpha, g^2 = (sigma^2)' - 2 f sigma^2 (arXiv:2206.00364, eq. 40; infinite where alpha = 0).
        """
        alpha, sigma = self.schedule.at(t, like)
        alpha_rate, sigma_rate = self.rates(t, like)
        drift = alpha_rate / alpha
        return drift, 2 * sigma * (sigma_rate - drift * sigma)

    def shown(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """x_t / sqrt(alpha^2 + sigma^2)."""
        alpha, sigma = self.schedule.at(t, x_t)
        return x_t / _cast((alpha**2 + sigma**2).sqrt(), x_t)

    def rates(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha'(t) and sigma'(t), shaped to multiply `like`."""
        alpha_rate, sigma_rate = self._rates(as_time(t))
        if alpha_rate.ndim == 0:
            return alpha_rate, sigma_rate
        return column(alpha_rate, like), column(sigma_rate, like)

    def _rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha'(t) and sigma'(t) by automatic differentiation."""
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            alpha, sigma = (
                self.schedule.alpha(t) + 0 * t,
                self.schedule.sigma(t),
            )  # an alpha that never changes has no graph
            return torch.autograd.grad(alpha.sum(), t)[0], torch.autograd.grad(sigma.sum(), t)[0]


def _keep(alpha_s: Tensor, sigma_s: Tensor, alpha_t: Tensor, sigma_t: Tensor, eta: float) -> Tensor:
    ratio = ((alpha_t * sigma_s) / (alpha_s * sigma_t)).nan_to_num(nan=1.0)  # 0 ... 1 on the way to data
    ratio = torch.where(ratio > 1, 1 / ratio, ratio)
    return torch.where(sigma_t > 0, sigma_s / sigma_t * (1 - eta**2 * (1 - ratio**2)).sqrt(), alpha_s)


def _cast(coefficient: Tensor, like: Tensor) -> Tensor:
    """A float64 coefficient in the sample's dtype, so that float32 samples stay float32."""
    return coefficient.to(like.dtype)
