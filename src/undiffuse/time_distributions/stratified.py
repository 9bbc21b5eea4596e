"""Stratified: a batch covers the times evenly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution, on_table, refuse_t_min

SWAPS = ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF))


@dataclass(frozen=True)
class Stratified(TimeDistribution):
    """One shared offset, and the bits of a sample's index in reverse: t_i = frac(u + 0.i_0 i_1 i_2 ...).

    A batch of 2^k covers (0, 1) evenly, as with i/count in place of the bits (arXiv:2107.00630, app. I.1), and so does
    every half, quarter ... of it, which is why a part of a batch need not know the whole.
    """

    t_min: float = 1e-5

    def __post_init__(self) -> None:
        refuse_t_min(self.t_min, "stratified")

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        offset = Random(random.seed).uniform((1,))
        indices = torch.arange(count) if random.indices is None else random.indices.cpu()
        for shift, mask in SWAPS:  # neighbouring bits, then pairs, fours ... change places
            indices = (indices >> shift & mask) | (indices & mask) << shift
        return on_table((offset + indices.double() / 2**32) % 1, schedule, self.t_min)
