"""Imputation: denoising of items with missing numbers, which take no part in the loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.objectives.denoising import Denoising


@dataclass(frozen=True)
class Imputation(Denoising):
    """`Denoising`, w(SNR) |guess - x_0|^2 over the numbers that the data have.

    The condition called `by`, of kind `known`, says which they are, and tells the network. Numbers that are given count
    as those that are asked for: where the condition is dropped all are asked for. Without such a condition it is
    `Denoising`. Source: arXiv:2107.03502, sec. 4.2.
    """

    by: str = "known"

    aliases: ClassVar[tuple[str, ...]] = ("csdi",)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        told = batch.cond.get(self.by)
        if told is None or batch.mask is not None:
            return super().at(t, model, batch, random)
        process, x_0 = model.process, model.state_of(batch.x)
        x_t = process.marginal(x_0, t).sample(random)
        there = told[:, told.shape[1] // 2 :] >= 0
        return self.of(model(x_t, t, **batch.given), x_0, process.schedule, t, there.expand(x_0.shape))
