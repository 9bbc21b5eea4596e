"""What latents mean, in pictures: the plane of two of them, and one after the other moved while the rest stay."""

from typing import Any

import torch
from PIL import Image

from undiffuse import pictures
from undiffuse.evaluation.reconstruction import Reconstructed

SIDE = 20  # pictures along an axis of the manifold
MOVED, STEPS, WIDEST = 10, 9, 2.5  # latents that are moved, values of each, and the largest, in deviations of the prior

_special: Any = torch.special


def manifold(found: Reconstructed) -> Image.Image | None:
    """Decoded latents of two numbers on a grid of the prior's quantiles, the second rising from top to bottom; None
    where latents are others, there is no prior, or items are no pictures.
    """
    if found.curve is None or found.posterior.mean.shape[1:] != (2,) or found.x.ndim < 3:
        return None
    ends = _special.ndtri((torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE).float()
    z = torch.stack([ends.repeat(SIDE), ends.repeat_interleave(SIDE)], 1)  # (SIDE^2, 2), row by row
    return pictures.grid(pictures.as_images(found.model.decode(z).numpy()), columns=SIDE, gap=0)


def traversal(found: Reconstructed) -> Image.Image | None:
    """The first held-out item with one latent at a time moved from -2.5 to 2.5, a row each, those with the most bits
    first; None where latents have sides, there is no prior, or items are no pictures.
    """
    mean = found.posterior.mean
    if found.curve is None or mean.ndim != 2 or found.x.ndim < 3:
        return None
    chosen = _most_bits(found)
    values = torch.linspace(-WIDEST, WIDEST, STEPS, dtype=torch.float32)
    z = mean[:1].repeat(len(chosen) * STEPS, 1)
    z[torch.arange(len(z)), torch.tensor(chosen, dtype=torch.int64).repeat_interleave(STEPS)] = values.repeat(
        len(chosen)
    )
    made = pictures.as_images(found.model.decode(z).numpy())
    return pictures.lined(made.reshape(len(chosen), STEPS, *made.shape[1:]), [f"latent {i}" for i in chosen])


def _most_bits(found: Reconstructed) -> list[int]:
    """The latents that say the most, in falling order."""
    rate: Any = found.statistics.rate
    return sorted(range(len(rate)), key=lambda i: -rate[i])[:MOVED]
