"""Ladder: the noise levels and the Langevin step that suit some data, by NCSNv2's rules."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused

BLOCK = 1024
MOST = 20_000


@dataclass(frozen=True)
class NCSNLevels:
    """What `ncsn_levels` chose; printed, it is a recipe's tables.

    overlap: the share of one level that its neighbour covers; left: sigma^2 before the last denoising over the level's.
    """

    sigma_max: float
    sigma_min: float
    steps: int
    ratio: float
    overlap: float
    updates: int
    step_size: float
    left: float

    def __str__(self) -> str:
        return (
            f"# levels {self.ratio:.4f} apart, {self.overlap:.2f} of each within its neighbour; "
            f"Langevin leaves {self.left:.4f} of a level's variance\n"
            f'[schedule]\nname = "geometric"\nsteps = {self.steps}\n'
            f"sigma_min = {self.sigma_min:g}\nsigma_max = {self.sigma_max:g}\n\n"
            f'[sampler]\nname = "annealed_langevin"\nconvention = "ncsnv2"\nsteps = {self.steps}\n'
            f"updates = {self.updates}\nstep_size = {self.step_size:.3g}\nsigma_last = {self.sigma_min:g}"
        )


def ncsn_levels(x: Tensor, sigma_min: float = 0.01, updates: int = 5, overlap: float = 0.5) -> NCSNLevels:
    """The ladder for data x (count, *shape), as the network sees it: from its largest distance down to sigma_min.

    Source: arXiv:2006.09011, techniques 1, 2 and 4.
    Raises Refused for a sigma_min that is not below the data's largest distance, and for no updates.
    """
    sigma_max = largest_distance(x)
    if not 0 < sigma_min < sigma_max:
        raise Refused(f"a ladder needs 0 < sigma_min < {sigma_max:g}, the data's largest distance; not {sigma_min:g}")
    dimension = x[0].numel()
    steps = max(2, 1 + math.ceil(math.log(sigma_max / sigma_min) / math.log(best_ratio(dimension, overlap))))
    ratio = (sigma_max / sigma_min) ** (1 / (steps - 1))
    step_size = best_step(ratio, updates, sigma_min)
    left = variance_left(ratio, updates, step_size, sigma_min)
    return NCSNLevels(sigma_max, sigma_min, steps, ratio, covered(dimension, ratio), updates, step_size, left)


def largest_distance(x: Tensor) -> float:
    """The largest Euclidean distance between two of the data (count, *shape): technique 1's sigma_max.

    Exact, over all pairs; raises Refused for fewer than 2 data and more than 20,000.
    """
    if not 2 <= len(x) <= MOST:
        raise Refused(f"the largest pairwise distance needs 2 to {MOST:,} data, not {len(x):,}: give some of them")
    flat = x.flatten(1).double()
    starts = range(0, len(flat), BLOCK)
    return max(float(torch.cdist(flat[i : i + BLOCK], flat[i:]).max()) for i in starts)


def covered(dimension: int, ratio: float) -> float:
    """Phi(sqrt(2 d)(ratio - 1) + 3 ratio) - Phi(sqrt(2 d)(ratio - 1) - 3 ratio): the share of the radii of a level's
    noise that lie within three standard deviations of the level above (arXiv:2006.09011, technique 2).
    """
    shift = math.sqrt(2 * dimension) * (ratio - 1)
    return _normal(shift + 3 * ratio) - _normal(shift - 3 * ratio)


def best_ratio(dimension: int, overlap: float = 0.5) -> float:
    """The ratio of two neighbouring levels at which `covered` is `overlap`, at most 2: in a few dimensions every ratio
    covers more. Raises Refused for an overlap outside (0, 0.99).
    """
    if not 0 < overlap < 0.99:
        raise Refused(f"the overlap of two levels lies between 0 and 0.99, not {overlap:g}")
    low, high = 1.0, 2.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if covered(dimension, middle) > overlap else (low, middle)
    return (low + high) / 2


def variance_left(ratio: float, updates: int, step_size: float, sigma_min: float) -> float:
    """(1 - e)^(2 updates) (ratio^2 - R) + R with e = step_size/sigma_min^2, R = 1/(1 - e/2): the variance that the
    Langevin updates of one level leave of noise from the level above, over the level's own; data at one point.

    The step is x + a score + sqrt(2 a) noise with a = step_size (sigma/sigma_min)^2 (arXiv:2006.09011, technique 4).
    """
    share = step_size / sigma_min**2
    rest = 1 / (1 - share / 2)
    return (1 - share) ** (2 * updates) * (ratio**2 - rest) + rest


def best_step(ratio: float, updates: int, sigma_min: float) -> float:
    """The step_size at which `variance_left` is least, which is nearest to 1: by ternary search over (0, sigma_min^2).

    Raises Refused for a ratio that is not above 1 and for no updates.
    """
    if not ratio > 1 or updates < 1 or not sigma_min > 0:
        raise Refused(
            f"a ladder needs levels that fall, updates >= 1 and sigma_min > 0; not a ratio of {ratio:g}, {updates} and "
            f"{sigma_min:g}"
        )
    low, high = 0.0, 1.0
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        better = variance_left(ratio, updates, a, 1.0) < variance_left(ratio, updates, b, 1.0)
        low, high = (low, b) if better else (a, high)
    return (low + high) / 2 * sigma_min**2


def _normal(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2
