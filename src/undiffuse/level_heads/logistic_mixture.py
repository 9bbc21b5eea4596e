"""A mixture of discretised logistics: a distribution over levels by a few numbers, however many levels there are."""

import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.level_head import LevelHead

LEAST = -7.0  # the smallest log scale, in units of half the data's range over the number of components


class LogisticMixture(LevelHead):
    """P(x) = sum over k of w_k (sigmoid((x + h - m_k)/s_k) - sigmoid((x - h - m_k)/s_k)), h half the levels' distance.

    The lowest and the highest level take all beyond them, so that the levels sum to 1. m_k of a channel is the
    network's and a linear function of the channels before it: m_k + sum of c_kj x_j. Numbers of each value: of each
    component a weight's logarithm, a mean, a log scale of at least -7, and a coefficient for each channel.
    levels, channels: given by the data. Raises Refused for fewer components than 1.
    Source: arXiv:1701.05517, eq. 2 and 3; here each channel has weights of its own, given those before it.
    """

    def __init__(self, levels: int = 2, channels: int = 1, components: int = 5) -> None:
        if components < 1:
            raise Refused(f"components = {components}: a logistic_mixture needs at least 1")
        self.levels, self.components, self.channels = levels, components, channels
        self.outputs = components * (3 + channels)

    def log_prob(self, outputs: Tensor, x: Tensor, places: Tensor) -> Tensor:
        parts = outputs.unflatten(2, (3 + self.channels, self.components))  # (batch, channels, 3 + channels, k, ...)
        before = torch.ones(self.channels, self.channels, dtype=x.dtype, device=x.device).tril(-1)
        shift = torch.einsum("bcdk...,cd,bd...->bck...", parts[:, :, 3:], before, x.to(outputs.dtype))
        return self._log_mixture(parts[:, :, 0], parts[:, :, 1] + shift, parts[:, :, 2], places[:, :, None], 2)

    def all_log_probs(self, outputs: Tensor, x: Tensor, channel: int) -> Tensor:
        parts = outputs.unflatten(1, (3 + self.channels, self.components))
        known = x[:, :channel].to(outputs.dtype)
        shift = torch.einsum("bdk,bd->bk", parts[:, 3 : 3 + channel], known)
        places = torch.arange(self.levels, device=x.device)[:, None]  # (levels, 1) beside (batch, 1, k)
        weights, means, scales = parts[:, None, 0], (parts[:, 1] + shift)[:, None], parts[:, None, 2]
        return self._log_mixture(weights, means, scales, places, 2)

    def _log_mixture(self, weights: Tensor, means: Tensor, scales: Tensor, places: Tensor, dim: int) -> Tensor:
        """log P of the levels at these places; the components lie along `dim`."""
        half = 1 / (self.levels - 1)
        shape = [-1 if i == dim else 1 for i in range(means.ndim)]
        spread = torch.linspace(-1, 1, self.components + 2, dtype=means.dtype, device=means.device)[1:-1]
        sharp = (-scales.clamp(min=LEAST)).exp() * self.components  # at first they cover the range side by side
        off = 2 * half * places.to(means.dtype) - 1 - means - spread.reshape(shape)
        above, below = (off + half) * sharp, (off - half) * sharp
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)), without a difference of near numbers
        low = torch.where(places == self.levels - 1, 0.0, F.logsigmoid(above))
        high = torch.where(places == 0, 0.0, F.logsigmoid(-below))
        inside = (places > 0) & (places < self.levels - 1)
        gap = torch.where(inside, torch.log(-torch.expm1(-2 * half * sharp)), 0.0)
        return (weights.log_softmax(dim) + low + high + gap).logsumexp(dim)
