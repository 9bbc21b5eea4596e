"""Thresholding: keep guesses inside the data's range, so that strong guidance does not burn them out."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.broadcast import factor
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.guidance.wrapping import Guided


@dataclass(frozen=True)
class Threshold(Guided):
    """static: clip(x_0, low, high);  dynamic: clip(x_0, -s, s) / s with s = max(quantile(|x_0|, percentile), 1).

    The formula is for bounds of -1 and 1; others are shifted and scaled to them. The quantile is of each sample over
    all its elements, in float32 or better. Samplers read the noise off the clipped guess, so both agree.
    bounds: the data's range. percentile: in (0, 1], such as 0.995; none: static.
    Raises Refused without bounds: latents and standardised values have none.
    Source: arXiv:2205.11487, sec. 2.3.
    """

    denoiser: Denoiser
    bounds: tuple[float, float] | None
    percentile: float | None = None

    aliases: ClassVar[tuple[str, ...]] = ("dynamic_thresholding",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bounds is None:
            raise Refused(
                "thresholding needs data with bounds, such as pixels; latents and standardised data have none"
            )
        if not self.bounds[0] < self.bounds[1]:
            raise Refused(f"the bounds of the data must rise, not {self.bounds[0]:g} to {self.bounds[1]:g}")
        if self.percentile is not None and not 0 < self.percentile <= 1:
            raise Refused(f"dynamic thresholding needs a percentile in (0, 1], such as 0.995, not {self.percentile:g}")

    def no_density(self) -> str:
        return "thresholding moves the guesses away from the means of any one density"

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Normal:
        guess: Any = self.denoiser(x_t, t, **cond)
        assert self.bounds is not None
        low, high = self.bounds
        centre, half = (low + high) / 2, (high - low) / 2
        mean = (guess.mean - centre) / half
        if self.percentile is None:
            return replace(guess, mean=guess.mean.clamp(low, high))
        size = mean.flatten(1).abs().to(torch.promote_types(mean.dtype, torch.float32))
        s = factor(quantile(size, self.percentile).clamp(min=1), mean)
        return replace(guess, mean=centre + half * mean.clamp(-s, s) / s)


def quantile(rows: Tensor, share: float) -> Tensor:
    """The quantile of each row (batch, n) with linear interpolation, (batch,); of any n."""
    place = share * (rows.shape[1] - 1)
    low = int(place)
    values = rows.sort(dim=1).values
    return torch.lerp(values[:, low], values[:, min(low + 1, rows.shape[1] - 1)], place - low)
