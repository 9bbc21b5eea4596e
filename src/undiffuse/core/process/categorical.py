"""The categorical process: tokens, replaced one by one by draws from a noise vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core.distribution.mixture import Mixed
from undiffuse.core.distribution.tokens import Categories, Tokens, unlike
from undiffuse.core.errors import Refused
from undiffuse.core.process.process import Process
from undiffuse.core.schedule import Schedule


def uniform(size: int) -> tuple[float, ...]:
    """The noise vector of multinomial diffusion: every one of `size` tokens alike (arXiv:2102.05379)."""
    return (1 / size,) * size


def mask(size: int) -> tuple[float, ...]:
    """The noise vector of absorbing diffusion: always token size - 1, the mask (arXiv:2107.03006, sec. 3.1)."""
    return (0.0,) * (size - 1) + (1.0,)


@dataclass(frozen=True)
class Categorical(Process):
    """q(x_t given x_0) = alpha onehot(x_0) + (1 - alpha) noise: alpha(t) is the chance that a token was kept.

    p(x_s) = keep onehot(x_t) + pull p(x_0) + fresh noise,  fresh = sigma_s - keep sigma_t,  sigma = 1 - alpha.
    noise: probabilities over the vocabulary (`categorical.uniform(K)`, `categorical.mask(K)`, unigram frequencies ...).
    Raises Refused if they are negative or do not sum to 1, and for schedules that keep the signal (alpha(1) > 1/2).
    """

    family: ClassVar[str] = "tokens"
    schedule: Schedule
    noise: Sequence[float] | Tensor

    def __post_init__(self) -> None:
        noise = torch.as_tensor(self.noise, dtype=torch.float64)
        total, least = float(noise.sum()), float(noise.min()) if noise.numel() else 0.0
        if noise.ndim != 1 or len(noise) < 2 or bool(unlike(noise)):
            raise Refused(
                "a noise vector needs 2 or more probabilities that sum to 1; "
                f"these {noise.numel()} sum to {total:g}, the least of them {least:g}"
            )
        if float(self.schedule.alpha(torch.tensor(1.0, dtype=torch.float64))) > 0.5:
            raise Refused(
                f"{self.schedule!r} keeps the signal; "
                "tokens need a schedule whose alpha falls, such as log_linear or cosine"
            )
        noise = noise.clamp(min=0)
        object.__setattr__(self, "noise", tuple(map(float, noise / noise.sum())))

    @cached_property
    def absorbing(self) -> int | None:  # type: ignore[override]
        """The token that all noise is, the mask; None where the noise is of several."""
        possible = [i for i, chance in enumerate(self.noise) if chance > 0]
        return possible[0] if len(possible) == 1 else None

    def time(self, alpha: Tensor) -> Tensor:
        """The time at which the chance to be kept is this, by bisection; float64, of alpha's shape."""
        low, high = torch.zeros_like(alpha, dtype=torch.float64), torch.ones_like(alpha, dtype=torch.float64)
        for _ in range(50):
            middle = (low + high) / 2
            later = self.schedule.alpha(middle) > alpha
            low, high = torch.where(later, middle, low), torch.where(later, high, middle)
        return (low + high) / 2

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, a mask among them."""
        return len(self.noise)

    def point(self, x_0: Tensor) -> Mixed:
        whole = torch.ones((), dtype=torch.float64, device=x_0.device)
        return self._mixed(x_0, whole, torch.zeros_like(whole))

    def prior(self, shape: tuple[int, ...] | torch.Size, t: Tensor | float = 1.0) -> Tokens:
        """The noise vector, at every t."""
        return Tokens(self.vector.log().expand(*shape, len(self.noise)))

    def marginal(self, x_0: Tensor, t: Tensor | float) -> Mixed:
        """alpha onehot(x_0) + (1 - alpha) noise."""
        return self._mixed(x_0, *self.chances(t, x_0))

    def bridge(
        self, x_t: Tensor, x_0: Categories, s: Tensor | float, t: Tensor | float, keep: Tensor | None = None
    ) -> Mixed:
        """keep onehot(x_t) + pull p(x_0) + fresh noise; keep = None: Bayes' posterior averaged over p(x_0), exactly.

        Where s is noisier than t, keep = None is the forward kernel, and p(x_0) has no say.
        Averaging posteriors is not the same as plugging p(x_0) into the posterior's formula (arXiv:2102.05379),
        which is exact only for a certain x_0. keep: broadcasts to x_t.
        Raises ValueError for a keep that would make a probability negative.
        """
        alpha_s, sigma_s = self.chances(s, x_t)
        alpha_t, sigma_t = self.chances(t, x_t)
        if keep is None:
            return self._reverse(x_t, x_0, (alpha_s, sigma_s), (alpha_t, sigma_t))
        keep = torch.as_tensor(keep, dtype=torch.float64, device=x_t.device)
        pull, fresh = alpha_s - keep * alpha_t, sigma_s - keep * sigma_t
        if keep.device.type == "cpu" and bool((torch.minimum(pull, fresh) < -1e-9).any()):
            raise ValueError("keep is too large: the bridge would need a negative probability")
        return self._mixed(x_t, keep, fresh.clamp(min=0), pull.clamp(min=0), x_0)

    def likelihood(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """q(x_t given x_0 = k) over k, (batch, *shape, vocabulary), float64."""
        x_t, (alpha, sigma) = x_t.long(), self.chances(t, x_t)
        here = torch.nn.functional.one_hot(x_t, len(self.noise))
        return alpha[..., None] * here + (sigma * self.vector.to(x_t.device)[x_t])[..., None]

    def forward(self, weights: Tensor, t: Tensor | float) -> Tensor:
        """sum_k weights(k) q(x_t = y given x_0 = k) over y, in weights' shape (batch, *shape, vocabulary)."""
        alpha, sigma = (c[..., None] for c in self.chances(t, weights[..., 0]))
        return alpha * weights + sigma * self.vector.to(weights.device) * weights.sum(-1, keepdim=True)

    def keep(self, s: Tensor | float, t: Tensor | float, like: Tensor, eta: float = 0.0) -> Tensor:
        """sigma_s/sigma_t (1 - eta + eta alpha_t/alpha_s).

        Where s is noisier than t, alpha_s/alpha_t for every eta: the forward kernel, which keeps as much as can be.
        eta = 0: a replaced token is replaced again or revealed, never redrawn (multinomial DDIM, masked ancestral;
        arXiv:2010.02502, app. A).
        eta = 1: the chance, given that x_t was replaced, that x_s held the same draw;
        the exact Markov reverse, which is not one number, is keep = None.
        """
        alpha_s, sigma_s = self.chances(s, like)
        alpha_t, sigma_t = self.chances(t, like)
        reverse = sigma_s / sigma_t * (1 - eta + eta * _ratio(alpha_t, alpha_s, 1.0))
        return torch.where(sigma_s < sigma_t, reverse, _ratio(alpha_s, alpha_t, 1.0))

    def score(self, x_t: Tensor, guess: Tokens, t: Tensor | float) -> Tensor:
        """Raises Refused: the gradient of a density is for values."""
        raise Refused("tokens have no score: train and sample them by what works with probabilities, such as denoising")

    def _reverse(self, x_t: Tensor, x_0: Categories, at_s: tuple[Tensor, Tensor], at_t: tuple[Tensor, Tensor]) -> Mixed:
        """sum_k p(k) q(x_t given x_s) q(x_s given k) / q(x_t given k), k that could not have become x_t left out.

        That is where s < t; elsewhere q(x_s given x_t), the forward kernel.
        q(x_t given k) is the same for every k but x_t itself, so this is a mixture of x_t, p and noise as well, with
        shares that depend on the noise's chance c of x_t and on p(x_t); without c, x_t was never replaced, and stays.
        """
        (alpha_s, sigma_s), (alpha_t, sigma_t) = at_s, at_t
        x_t = self._checked(x_t)
        c = self.vector.to(x_t.device)[x_t]
        same = x_0.log_each(x_t).exp().double()  # p(x_0 = x_t)
        here = alpha_t + sigma_t * c
        forward = _ratio(alpha_t, alpha_s, 1.0)
        odds = _ratio((1 - same).clamp(min=0), sigma_t, 0.0) + _ratio(
            same * c, here, 0.0
        )  # c sum_k p(k) / q(x_t given k)
        keep = forward * sigma_s * odds + _ratio(same * alpha_t * sigma_s, sigma_t * here, 0.0)
        pull, fresh = _ratio(alpha_s - alpha_t, sigma_t, 0.0), (1 - forward) * sigma_s * odds
        onward = sigma_s >= sigma_t
        held = torch.where(onward, _ratio(alpha_s, alpha_t, 1.0), 1.0)
        stays = (c == 0) | onward
        keep, pull, fresh = (
            torch.where(stays, held, keep),
            torch.where(stays, 0.0, pull),
            torch.where(stays, 1 - held, fresh),
        )
        return self._mixed(x_t, keep, fresh, pull, x_0)

    def chances(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """The chances to be kept and to be replaced, shaped to multiply tokens."""
        alpha = self.schedule.at(t, like)[0].to(like.device)
        return alpha, 1 - alpha

    def _mixed(
        self, here: Tensor, keep: Tensor, fresh: Tensor, pull: Tensor | None = None, guess: Categories | None = None
    ) -> Mixed:
        return Mixed(self._checked(here), keep, fresh, self.vector.to(here.device), pull, guess)

    def _checked(self, x: Tensor) -> Tensor:
        """Tokens as int64; raises Refused for what is outside the vocabulary."""
        size = len(self.noise)
        if x.is_floating_point() or (
            x.device.type == "cpu" and x.numel() and not 0 <= int(x.min()) <= int(x.max()) < size
        ):
            found = f"{x.dtype} from {x.min():g} to {x.max():g}" if x.numel() else f"none, of {x.dtype}"
            raise Refused(f"tokens must be integers 0 ... {size - 1}; got {found}")
        return x.long()

    @cached_property
    def vector(self) -> Tensor:
        """The noise as a tensor, float64 on the CPU."""
        return torch.tensor(self.noise, dtype=torch.float64)


def _ratio(above: Tensor, below: Tensor, otherwise: float) -> Tensor:
    """above / below, and otherwise where below is 0, with a gradient that is 0 there."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), otherwise)
