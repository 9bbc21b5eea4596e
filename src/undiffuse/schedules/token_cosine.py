"""The two laws that papers on tokens call cosine: the chance to be kept is a cosine, or its square."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Mixing
from undiffuse.core.tabulated import check_steps


@dataclass(frozen=True)
class TokenCosine(Mixing):
    """alpha(t) = (f(t)/f(0))^power, f(t) = cos(pi/2 (t + offset)/(1 + offset)), sigma = 1 - alpha; 0 is left at t = 1.

    power 1: cos, D3PM's law of uniform noise (arXiv:2107.03006, app. B.1). `cosine` is the same but in its last step,
    where its beta is clipped as in argmax flows' code, the square root of images' law (arXiv:2102.05379). power 2:
    cos^2, images' own law of alpha-bar taken as the chance. steps: of a table at t = i/T; 0: continuous.
    """

    power: float = 1.0
    offset: float = 0.008
    steps: int = 0

    def __post_init__(self) -> None:
        if self.steps:
            check_steps(self.steps)
        if not 0 <= self.offset < 1 or not self.power > 0:
            raise Refused(
                f"token_cosine needs a power above 0 and an offset in [0, 1), not {self.power:g} and {self.offset:g}"
            )

    def alpha(self, t: Tensor) -> Tensor:
        start, turned = math.pi / 2 * self.offset / (1 + self.offset), math.pi / 2 * t.double() / (1 + self.offset)
        return torch.where(t.double() < 1, ((start + turned).cos() / math.cos(start)) ** self.power, 0.0)

    def sigma(self, t: Tensor) -> Tensor:
        """-expm1(power log(1 - missing)),  missing = 1 - f(t)/f(0), without cancellation near data."""
        start, turned = math.pi / 2 * self.offset / (1 + self.offset), math.pi / 2 * t.double() / (1 + self.offset)
        missing = 2 * (turned / 2 + start).sin() * (turned / 2).sin() / math.cos(start)
        left = torch.where(t.double() < 1, missing, 0.5)
        return torch.where(t.double() < 1, -(self.power * (-left).log1p()).expm1(), 1.0)
