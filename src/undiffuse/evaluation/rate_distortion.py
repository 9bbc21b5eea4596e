"""The curve of rate against distortion of an autoencoder with a prior."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.random import Random
from undiffuse.evaluation.similarity import psnr

SHARES = (0.0, *(10 ** (k / 2) for k in range(-10, 0)), 1.0)


@dataclass(frozen=True)
class RateDistortion:
    """At each share b: the rate in bits an item, and the mean PSNR in dB of what is decoded; b = 0 is the prior, of
    rate 0, and b = 1 the posterior itself.
    """

    shares: list[float]
    bits: list[float]
    psnr: list[float]

    def content(self) -> list[dict[str, float]]:
        """One dictionary a point, in JSON's types."""
        points = zip(self.shares, self.bits, self.psnr, strict=True)
        return [{"share": share, "bits": bits, "psnr": quality} for share, bits, quality in points]


def rate_distortion(
    x: np.ndarray,
    posterior: Normal,
    prior: Normal,
    decode: Callable[[Tensor], Tensor],
    span: float,
    seed: int = 0,
    shares: Sequence[float] = SHARES,
    report: Callable[[int], None] = lambda done: None,
) -> RateDistortion:
    """Latents of  q_b(z | x) ~ p(z)^(1 - b) q(z | x)^b,  the geometric path from the prior to the posterior.

    Where q is the exact posterior, q_b is proportional to p(z) p(x | z)^b, of all laws of z the one with the least rate
    at its distortion -E log p(x | z) (arXiv:2008.06653).
    x: items (count, *shape) in the data's units; decode: latents (count, ...) to such; span: of `psnr`.
    """
    found = RateDistortion([], [], [])
    for i, share in enumerate(shares):
        belief = prior.tilted(posterior, share)
        made = decode(belief.sample(Random(seed).fold(i))).cpu().numpy()
        found.shares.append(share)
        found.bits.append(float(belief.kl(prior).double().mean()) / math.log(2))
        found.psnr.append(float(psnr(x, made, span).mean()))
        report(i + 1)
    return found


def standard(like: Tensor) -> Normal:
    """N(0, 1) in the shape of some latents."""
    return Normal(torch.zeros_like(like), torch.ones_like(like))
