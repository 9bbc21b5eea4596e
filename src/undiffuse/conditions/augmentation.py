"""How a picture was moved, turned and stretched in training: samples are told that they were not."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind, Derive, Form
from undiffuse.conditions.values import expanded
from undiffuse.conditions.vector import numbers, numbers_of
from undiffuse.core.broadcast import column
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.random import Random

NUMBERS = {"mirror": 1, "scale": 1, "turn": 2, "stretch": 2, "move": 2}  # that tell of each transformation, in order
SPREAD, SHARE = 0.2, 0.125  # of the logarithms of scale and stretch; of a move, as a share of the picture's size


@dataclass(frozen=True)
class AugmentationCondition(ConditionKind):
    """Random transformations of training pictures that the network is told, so that samples, told 0, show none.

    x' = move turn stretch scale mirror x, about the middle of the picture, each with its own chance: mirrored left to
    right; by 2^(0.2 n); by an angle uniform in (-pi, pi); by 2^(0.2 n) along a line of any direction and as much
    less across it; by n/8 of the width and of the height, with n standard normal. Between pixels values are
    interpolated linearly, and beyond the edge the picture is mirrored. Values are (1 or 0, n, cos - 1 and sin of the
    angle, n times cos and sin of twice the line's angle, both n), so many as `of` asks for.

    of: which transformations, with commas. chance: of each. It is of pictures that stand alone: other conditions must
    not name places. Source: arXiv:2206.00364, app. F.2 (there from StyleGAN2-ADA, arXiv:2006.06676, app. B).
    """

    of: str = "scale,turn,stretch,move"
    chance: float = 0.12

    form: ClassVar[Form] = "vector"
    axes: ClassVar[tuple[int, ...]] = (1,)
    needs: ClassVar[str] = "pictures; its values are made in training"
    metavar: ClassVar[str] = "A,B,C"
    help: ClassVar[str] = "How a picture was moved, turned and stretched; samples are not."
    optional: ClassVar[bool] = True
    augments: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drop:
            raise Refused("samples are always told that nothing was moved: leave drop out")
        if not 0 < self.chance <= 1:
            raise Refused(f"chance is that of each transformation, above 0 and at most 1, not {self.chance:g}")
        for name in self.names:
            if name not in NUMBERS:
                raise unknown("the transformation", name, NUMBERS)

    @property
    def names(self) -> tuple[str, ...]:
        """The transformations, in the order in which they are done."""
        asked = self.of.replace(" ", "").split(",")
        return (*(name for name in NUMBERS if name in asked), *(name for name in asked if name not in NUMBERS))

    def within(self, codec: Codec) -> Self:
        if codec.stamp or codec.tokens:
            raise Refused("pictures are moved before they are encoded, and this codec encodes them before training")
        return self

    def accepts(self, values: np.ndarray) -> bool:
        return values.ndim == 2 and values.dtype.kind == "f"

    def encode(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32))

    def given(self, value: Any, n: int, name: str) -> Tensor:
        return expanded(self.encode(numbers(value, self.shape, name)), n, name)

    def usual(self, n: int) -> Tensor:
        return torch.zeros(n, *self.shape, dtype=torch.float32)

    def from_word(self, word: str, name: str) -> Any:
        return numbers_of(word, self.shape, name)

    def derivation(self, name: str) -> Derive | None:
        return partial(_at_rest, sum(NUMBERS[each] for each in self.names))

    def summary(self) -> str:
        return f"pictures of the training data are changed by {self.of}, each with chance {self.chance:g}"

    def augmented(self, x: Tensor, random: Random) -> tuple[Tensor, Tensor]:
        """Pictures (batch, channels, height, width) as training sees them once, and the values that say how."""
        values = self.values(len(x), random, x.device)
        return self.moved(x, values), values

    def values(self, n: int, random: Random, device: torch.device | None = None) -> Tensor:
        """Values drawn for n pictures, (n, numbers)."""
        made: list[Tensor] = []
        for i, name in enumerate(self.names):
            stream = random.fold(i)
            chosen = stream.uniform((n, 1), device) < self.chance
            made.append(_drawn(name, n, stream, device) * chosen)
        return torch.cat(made, 1)

    def moved(self, x: Tensor, values: Tensor) -> Tensor:
        """Pictures (batch, channels, height, width) of any dtype, transformed as values say; at 0 they are equal."""
        height, width = x.shape[2:]
        size = torch.tensor([width, height], dtype=torch.float64, device=x.device)
        matrix = torch.eye(3, dtype=torch.float64, device=x.device).repeat(len(x), 1, 1)
        columns = iter(values.double().split([NUMBERS[name] for name in self.names], 1))
        for name in self.names:
            matrix = _matrix(name, next(columns), size) @ matrix
        half = torch.cat([size / 2, size.new_ones(1)])  # pixels of a unit of `affine_grid`
        inverse = torch.linalg.inv(matrix) * half / half[:, None]
        grid = F.affine_grid(inverse[:, :2].float(), list(x.shape), align_corners=False)
        found = F.grid_sample(x.float(), grid, padding_mode="reflection", align_corners=False)
        found = found if x.is_floating_point() else found.round()
        return torch.where(column(values.any(1), x), found.to(x.dtype), x)


def _drawn(name: str, n: int, random: Random, device: torch.device | None) -> Tensor:
    """Values of a transformation that is done, (n, numbers)."""
    if name == "mirror":
        return random.fold(3).integers(2, (n, 1), device).float()
    if name in ("scale", "move"):
        return random.fold(1).normal((n, NUMBERS[name]), device=device)
    angle = math.pi * (2 * random.fold(2).uniform((n, 1), device).float() - 1)
    around = torch.cat([angle.cos(), angle.sin()], 1)
    if name == "turn":
        return around - around.new_tensor([1.0, 0.0])
    return random.fold(1).normal((n, 1), device=device) * around


def _matrix(name: str, values: Tensor, size: Tensor) -> Tensor:
    """(batch, 3, 3): where a transformation takes places, (across, down, 1) in pixels from the middle."""
    matrix = torch.eye(3, dtype=values.dtype, device=values.device).repeat(len(values), 1, 1)
    first, last = values[:, 0], values[:, -1]
    if name == "mirror":
        matrix[:, 0, 0] = 1 - 2 * first
    elif name == "scale":
        matrix[:, :2, :2] *= (2 ** (SPREAD * first))[:, None, None]
    elif name == "turn":
        matrix[:, 0, 0] = matrix[:, 1, 1] = 1 + first
        matrix[:, 0, 1], matrix[:, 1, 0] = -last, last
    elif name == "stretch":  # the exponential of a symmetric matrix without trace, whose eigenvalues are +- s
        s = (SPREAD * math.log(2) * torch.hypot(first, last)).clamp_min(1e-12)
        along = torch.stack([torch.stack([first, last], 1), torch.stack([last, -first], 1)], 1)
        unit = along / torch.hypot(first, last).clamp_min(1e-12)[:, None, None]
        matrix[:, :2, :2] = s.cosh()[:, None, None] * matrix[:, :2, :2] + s.sinh()[:, None, None] * unit
    else:
        matrix[:, :2, 2] = SHARE * size * values
    return matrix


def _at_rest(numbers: int, x: Any, white: float, missing: Any = None, /, **beside: Any) -> np.ndarray:
    return np.zeros((len(x), numbers), np.float32)
