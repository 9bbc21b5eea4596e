"""A binary heartbeat: a one in every fifth place, the first token sequences that diffusion was tried on."""

from dataclasses import dataclass

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source


@dataclass(frozen=True)
class Heartbeat(Source):
    """`count` sequences of `length` tokens 0 and 1: x_i = 1 where i mod period is the phase, uniform in 0 ... period-1.

    log2 p(x) = -log2 period for each of the `period` sequences that there are. Every one has length/period ones where
    the period divides the length. Source: arXiv:1503.03585, sec. 3.1.2 (length 20, period 5).
    """

    count: int = 10_000
    length: int = 20
    period: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0 or not 2 <= self.period <= self.length:
            raise Refused(f"a heartbeat needs count >= 1, seed >= 0 and 2 <= period <= length, and was given {self}")

    def load(self) -> Dataset:
        """The sequences, (count, length) uint8."""
        phase = np.random.Generator(np.random.Philox(self.seed)).integers(self.period, size=self.count)
        beats = np.arange(self.length) % self.period == phase[:, None]
        return Dataset(beats.astype(np.uint8), name="heartbeat", vocabulary=2, drawn=True)
