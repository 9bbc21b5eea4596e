"""Residuals: what a trained regressor leaves of a target, so that noise ends at what it predicts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, as_dtype, as_number, slices
from undiffuse.codecs.whiten import moments
from undiffuse.core.errors import Refused, some
from undiffuse.core.item_reader import ItemReader
from undiffuse.core.random import Random

INPUTS, FITTED = "inputs", "fitted"  # the condition that is read, and the one that is made of it
SHOWN = 12  # columns that a refusal names


@dataclass(frozen=True)
class ResidualCodec(Codec):
    """z = (y - f) / spread with y = (target - mean) / std, and f the regressor's prediction in the same units.

    So y_t - f = alpha (y_0 - f) + sigma spread noise, and the noisy end of y is N(f, spread^2). f is a condition of the
    network, `fitted`, beside `inputs`, from which it is predicted.
    regressor: the run, which is frozen; in a recipe its folder; None: f = 0, the mean of the target. scale: "target":
    spread is 1, as in the paper; "residual": the deviation of y - f over the training data, so that z has deviation 1.
    columns, targets: the names of the inputs and of what is modelled; given by the data. mean, std, spread, dtype,
    count: what was fitted.
    Source: arXiv:2206.07275, eq. 5.
    Raises Refused for a regressor of another table or target, and for items without its prediction.
    """

    regressor: ItemReader | None = field(default=None, compare=False)
    scale: Literal["target", "residual"] = "target"
    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    dtype: str = "float32"
    count: int = 0

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == len(self.spread):
            raise Refused(f"residual needs as many std and spread as mean: {self.mean}, {self.std}, {self.spread}")
        if not all(0 < s < math.inf for s in self.std + self.spread):
            raise Refused(f"residual needs std and spread above 0: {self.std}, {self.spread}")

    @property
    def reads(self) -> str:
        """The inputs, where there is a regressor."""
        return "" if self.regressor is None else INPUTS

    @property
    def adds(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """What the regressor predicts."""
        return {} if self.regressor is None else {FITTED: ("vector", (len(self.mean),))}

    @property
    def blurs(self) -> Mapping[str, float]:
        """3.4 count^(-1/5) of a table's columns, and 1.06 count^(-1/5) of what the regressor predicts of one number.

        What a regressor leaves changes slowly with its inputs, so that few rows bear more noise than the rule of thumb
        of arXiv:1907.08982, sec. 4, 1.06 count^(-1/(d + 4)) of d columns. The rate is that of one column, as where each
        acts alone; 3.4 is by trial on tables of 100 to 41,000 rows.
        """
        if not (self.count and self.columns and self.reads):
            return {}
        rate = self.count ** (-1 / 5)
        return {INPUTS: 3.4 * rate} | ({FITTED: 1.06 * rate} if len(self.mean) == 1 else {})

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy with the moments of the targets x, (count, targets, ...), and of what the regressor leaves of them."""
        self._check()
        mean, std, low, high = moments(x)
        std = np.where(low == high, 1.0, np.where(std > 0, std, (high - low) / 2))
        one = (1.0,) * x.shape[1]
        known = replace(self, mean=tuple(mean.tolist()), std=tuple(std.tolist()), spread=one, dtype=x.dtype.name)
        known = replace(known, count=len(x))
        if self.scale == "target" or self.regressor is None:
            return known
        fitted = known.added(torch.as_tensor(np.asarray(beside[INPUTS][:])), learned=True)
        left = known.encode(np.concatenate(list(slices(x))), **fitted).double().square()
        left = left.transpose(0, 1).flatten(1).mean(1).sqrt()
        return replace(known, spread=tuple(v if v > 0 else 1.0 for v in left.tolist()))

    def added(self, values: Tensor, learned: bool = False) -> dict[str, Any]:
        """f of inputs in their own units, (n, numbers), normalised as the target is."""
        if self.regressor is None:
            return {}
        found = self.regressor.told_of(values, learned)
        mean, std, _ = self._moments(found)
        return {FITTED: ((found - mean) / std).float()}

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """Residuals of targets, as float32."""
        y = as_number(x).double()
        mean, std, spread = self._moments(y)
        return (((y - mean) / std - self._fitted(y, cond)) / spread).float()

    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """Targets in their own units and dtype."""
        mean, std, spread = self._moments(z.double())
        return as_dtype((z.double() * spread + self._fitted(z, cond)) * std + mean, self.dtype)

    def log_det(self, shape: tuple[int, ...]) -> float:
        """-log(std spread), summed over the targets."""
        return -math.prod(shape[1:]) * sum(map(math.log, self.std + self.spread))

    def _fitted(self, like: Tensor, cond: Mapping[str, Tensor]) -> Tensor | float:
        if self.regressor is None:
            return 0.0
        if FITTED not in cond:
            raise Refused(f"codec 'residual' encodes and decodes targets beside their condition {INPUTS!r}: give it")
        return cond[FITTED].to(like.device).double()

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.mean:
            raise Refused("residual is not fitted: call fit(x) with the training data first")
        if x.ndim < 2 or x.shape[1] != len(self.mean):
            raise Refused(f"residual was fitted to {len(self.mean)} targets, and these have shape {tuple(x.shape)}")
        shape = (-1, *(1,) * (x.ndim - 2))  # to stand before further axes
        each = (self.mean, self.std, self.spread)
        mean, std, spread = (torch.tensor(m, dtype=x.dtype, device=x.device).view(shape) for m in each)
        return mean, std, spread

    def _check(self) -> None:
        """Raises Refused unless the regressor reads these columns and tells this target."""
        known: Any = self.regressor
        if known is None:
            return
        for verb, theirs, mine in (("reads", known.columns, self.columns), ("tells", known.targets, self.targets)):
            if theirs != mine:
                raise Refused(
                    f"codec.regressor {verb} {_listed(theirs)}, and these data have {_listed(mine)}: take a regressor "
                    "of the same table and target"
                )


def _listed(names: tuple[str, ...]) -> str:
    return f"[{some(names, SHOWN)}]"
