"""The categorical process: tokens, replaced one by one by draws from a noise vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.distribution import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.process import Process
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

    schedule: Schedule
    noise: Sequence[float] | Tensor

    def __post_init__(self) -> None:
        noise = torch.as_tensor(self.noise, dtype=torch.float64)
        if noise.ndim != 1 or len(noise) < 2 or bool((noise < 0).any()) or abs(float(noise.sum()) - 1) > 1e-6:
            raise Refused(
                "a noise vector needs 2 or more probabilities that sum to 1; "
                f"these {noise.numel()} sum to {float(noise.sum()):g}"
            )
        if float(self.schedule.alpha(torch.tensor(1.0))) > 0.5:
            raise Refused(
                f"{self.schedule!r} keeps the signal; "
                "tokens need a schedule whose alpha falls, such as log_linear or cosine"
            )
        object.__setattr__(self, "noise", tuple(map(float, noise)))

    def point(self, x_0: Tensor) -> Tokens:
        return Tokens(self._onehot(x_0).log())

    def prior(self, shape: tuple[int, ...] | torch.Size, t: Tensor | float = 1.0) -> Tokens:
        """The noise vector, at every t."""
        return Tokens(self._noise(None).log().expand(*shape, len(self.noise)))

    def marginal(self, x_0: Tensor, t: Tensor | float) -> Tokens:
        """alpha onehot(x_0) + (1 - alpha) noise."""
        alpha, sigma = self._chances(t, x_0)
        return Tokens((alpha * self._onehot(x_0) + sigma * self._noise(x_0)).log())

    def bridge(
        self, x_t: Tensor, x_0: Tokens, s: Tensor | float, t: Tensor | float, keep: Tensor | None = None
    ) -> Tokens:
        """keep onehot(x_t) + pull p(x_0) + fresh noise; keep = None: Bayes' posterior averaged over p(x_0), exactly.

        Averaging posteriors is not the same as plugging p(x_0) into the posterior's formula (arXiv:2102.05379, eq. 13),
        which is exact only for a certain x_0. Raises ValueError for a keep that would make a probability negative.
        """
        alpha_s, sigma_s = self._chances(s, x_t)
        alpha_t, sigma_t = self._chances(t, x_t)
        if keep is None:
            return self._reverse(x_t, x_0, (alpha_s, sigma_s), (alpha_t, sigma_t))
        keep = torch.as_tensor(keep, dtype=torch.float64)
        keep = keep[..., None] if keep.ndim else keep
        pull, fresh = alpha_s - keep * alpha_t, sigma_s - keep * sigma_t
        if bool((torch.minimum(pull, fresh) < -1e-9).any()):
            raise ValueError("keep is too large: the bridge would need a negative probability")
        probs = keep * self._onehot(x_t) + pull.clamp(min=0) * x_0.mean.double() + fresh.clamp(min=0) * self._noise(x_t)
        return Tokens(_log(probs))

    def keep(self, s: Tensor | float, t: Tensor | float, like: Tensor, eta: float = 0.0) -> Tensor:
        """sigma_s/sigma_t (1 - eta + eta alpha_t/alpha_s).

        eta = 0: a replaced token is replaced again or revealed, never redrawn (multinomial DDIM, masked ancestral;
        arXiv:2010.02502, app. A).
        eta = 1: the chance, given that x_t was replaced, that x_s held the same draw;
        the exact Markov reverse, which is not one number, is keep = None.
        """
        alpha_s, sigma_s = (c[..., 0] for c in self._chances(s, like))
        alpha_t, sigma_t = (c[..., 0] for c in self._chances(t, like))
        return torch.where(sigma_t > 0, sigma_s / sigma_t * (1 - eta + eta * alpha_t / alpha_s), 1.0)

    def score(self, x_t: Tensor, guess: Tokens, t: Tensor | float) -> Tensor:
        """Raises Refused: the gradient of a density is for values."""
        raise Refused("tokens have no score: train and sample them by what works with probabilities, such as denoising")

    def _reverse(self, x_t: Tensor, x_0: Tokens, at_s: tuple[Tensor, Tensor], at_t: tuple[Tensor, Tensor]) -> Tokens:
        """sum_k p(k) q(x_t given x_s) q(x_s given k) / q(x_t given k);
        a k that could not have become x_t counts for nothing.
        """
        (alpha_s, sigma_s), (alpha_t, sigma_t) = at_s, at_t
        here, noise = self._onehot(x_t), self._noise(x_t)
        chance_here = noise[x_t][..., None]  # the noise's probability of the very token x_t
        forward = alpha_t / alpha_s
        likelihood = alpha_t * here + sigma_t * chance_here  # q(x_t given x_0 = k), over k
        weight = _ratio(x_0.mean.double(), likelihood)
        probs = (forward * here + (1 - forward) * chance_here) * (
            alpha_s * weight + sigma_s * noise * weight.sum(-1, keepdim=True)
        )
        total = probs.sum(-1, keepdim=True)
        return Tokens(_log(torch.where(total > 0, _ratio(probs, total), here)))

    def _chances(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """The chances to be kept and to be replaced, shaped to multiply probabilities."""
        alpha = self.schedule.at(t, like)[0][..., None]
        return alpha, 1 - alpha

    def _onehot(self, x: Tensor) -> Tensor:
        size = len(self.noise)
        if x.is_floating_point() or (
            x.device.type == "cpu" and x.numel() and not 0 <= int(x.min()) <= int(x.max()) < size
        ):
            raise Refused(f"tokens must be integers 0 ... {size - 1}; got {x.dtype} from {x.min():g} to {x.max():g}")
        return torch.nn.functional.one_hot(x.long(), size).double()

    def _noise(self, like: Tensor | None) -> Tensor:
        return torch.tensor(self.noise, dtype=torch.float64, device=None if like is None else like.device)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and 0 where below is 0, with a gradient that is 0 there."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)


def _log(probs: Tensor) -> Tensor:
    """The logarithm; where a probability is 0 it has no gradient."""
    return torch.where(probs > 0, torch.where(probs > 0, probs, 1.0).log(), -torch.inf)
