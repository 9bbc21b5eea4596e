"""How much signal and how much noise is left at each time: the interface of every noise schedule."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from undiffuse.core.broadcast import column

ROUNDING = 2**-22  # of a time that went through float32
LEAST = 1e-12  # the least time with noise: where a schedule jumps at 0, that of its lowest level


class Schedule(ABC):
    """How much signal, alpha(t), and noise, sigma(t), is left at time t in [0, 1]: data at 0, noise at 1.

    x_t = alpha(t) x_0 + sigma(t) noise;  alpha/sigma falls strictly;  sigma(0) = 0.
    Everything is computed in float64. `steps` is the length of the table behind the schedule (0: continuous).
    noisiest: fields, with values of them, that leave next to no signal at t = 1.
    """

    noisiest: ClassVar[Mapping[str, float]] = MappingProxyType({})

    steps: int = 0

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The share of signal at t, in float64, of t's shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise at t (tokens: the chance to be replaced), in float64, of t's shape."""

    @abstractmethod
    def prior_std(self, t: Tensor) -> Tensor:
        """The standard deviation of the centred normal that sampling starts from at t."""

    def log_snr(self, t: Tensor) -> Tensor:
        """log_snr = 2 log(alpha / sigma): infinite at data, falling strictly."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which the log signal-to-noise ratio is this; outside the schedule's range its nearest end.

        An infinite ratio is data, at 0; a finite one above all that a schedule has (one that jumps at 0) is its lowest
        noise, at `LEAST`. By bisection.
        """
        target = log_snr.double()
        low, high = torch.zeros_like(target), torch.ones_like(target)
        for _ in range(80):
            middle = (low + high) / 2
            noisier = self.log_snr(middle) < target
            low, high = torch.where(noisier, low, middle), torch.where(noisier, middle, high)
        return (low + high) / 2

    def at(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma in float64, shaped to multiply `like`: () stays (), (batch,) becomes (batch, 1, ..., 1).

        The only place where a time meets a sample's shape. A scalar stays where it is, so that it costs a GPU nothing.
        """
        t = as_time(t)
        if t.ndim == 0:
            alone = t.device.type != "cpu" or t.requires_grad or torch.is_inference_mode_enabled()
            return self.both(t) if alone else self._once(t)
        if t.shape != like.shape[:1]:
            raise ValueError(f"t has shape {tuple(t.shape)}; it must be () or ({like.shape[0]},), one time a sample")
        alpha, sigma = self.both(t)
        return column(alpha, like), column(sigma, like)

    def _once(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """`both` of a single time: the parts of one step of a sampler all ask for the same two."""
        last, time = self._last, t.item()
        found = last.get(time)
        if found is None:
            found = self.both(t)
            if len(last) >= 4:
                last.clear()
            last[time] = found
        return found

    @cached_property
    def _last(self) -> dict[float, tuple[Tensor, Tensor]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """What copies have: the fields without `_last`, to which another thread may be adding."""
        return {name: value for name, value in dict(self.__dict__).items() if name != "_last"}

    def both(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha(t) and sigma(t); a schedule that finds both from one number finds it once."""
        return self.alpha(t), self.sigma(t)

    def step(self, t: Tensor | float) -> Tensor:
        """The step i of the table's time i/steps at t, or of the next noisier one: int64 of t's shape, 0 at data.

        A time that rounding in float32 took off a step's own counts as that step. This alone makes an index of a time.
        """
        position = as_time(t) * self.steps
        return (position - (position / 2).clamp(max=self.steps * ROUNDING)).ceil().long()

    def for_tokens(self, frequencies: Sequence[float], noise: Sequence[float]) -> Self:
        """The schedule for tokens as frequent as these and replaced by such noise; most ask for neither."""
        return self

    def index(self, t: Tensor) -> Tensor:
        """The step index that networks of the literature are fed:
        DDPM's index i - 1 of the time t = i/T (T = 1000 if continuous).
        """
        return (self.steps or 1000) * t.double() - 1


class VariancePreserving(Schedule):
    """alpha^2 + sigma^2 = 1: all that is to say is alpha_bar(t) = alpha(t)^2,
    the share of the variance that is signal.
    """

    @abstractmethod
    def log_alpha_bar(self, t: Tensor) -> Tensor:
        """log alpha_bar in float64: 0 at data, falling strictly."""

    def alpha(self, t: Tensor) -> Tensor:
        return (self.log_alpha_bar(t.double()) / 2).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-self.log_alpha_bar(t.double()).expm1()).clamp(min=0).sqrt()

    def both(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log = self.log_alpha_bar(t.double())
        return (log / 2).exp(), (-log.expm1()).clamp(min=0).sqrt()

    def prior_std(self, t: Tensor) -> Tensor:
        return torch.ones_like(t.double())


class VarianceExploding(Schedule):
    """alpha = 1: the signal stays and noise is added; all that is to say is sigma(t)."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t.double())

    def prior_std(self, t: Tensor) -> Tensor:
        return self.sigma(t)


class Mixing(Schedule):
    """alpha + sigma = 1: straight interpolation for values; for tokens the chances to be kept and to be replaced."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - self.sigma(t)

    def prior_std(self, t: Tensor) -> Tensor:
        return self.sigma(t)


def as_time(t: Tensor | float) -> Tensor:
    """A time in float64; refuses what lies outside [0, 1] where that can be seen without waiting for a GPU.

    What lies outside by no more than rounding is the end that it is nearest to.
    """
    t = torch.as_tensor(t, dtype=torch.float64)
    if t.device.type == "cpu" and t.numel() and not _inside(t):
        nearest = t.clamp(0, 1)
        if not bool(((t - nearest).abs() <= ROUNDING).all()):
            raise ValueError(f"a time lies outside [0, 1] (0 = data, 1 = noise): {t.min():g} ... {t.max():g}")
        return nearest
    return t


def _inside(t: Tensor) -> bool:
    """Whether all of t lies in [0, 1]; of a single time, which samplers ask for at every step, without a tensor."""
    return 0 <= t.detach().item() <= 1 if t.ndim == 0 else bool(((t >= 0) & (t <= 1)).all())
