"""Plucked strings: tones of known pitch whose overtones fade, as sounds that need no download."""

from dataclasses import dataclass

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.source import Source
from undiffuse.storage.notes import SOUND

NOTES = {"C4": -9, "D4": -7, "E4": -5, "F4": -4, "G4": -2, "A4": 0, "B4": 2, "C5": 3}  # half tones from A4
A4 = 440.0  # cycles a second


@dataclass(frozen=True)
class PluckedStrings(Source):
    """`count` sounds (count, 1, length) float32 of `rate` samples a second; the label is the note, C4 to C5.

    x(t) = v sum_k a_k exp(-k d t) sin(2 pi k f t) + noise, over the overtones k f below rate/2, a_k = sin(pi k p)/k^2
    as of a string that is plucked at the share p of its length, d from 3 to 9 a second,
    v from 0.2 to 0.6, each drawn evenly; so pitch, loudness and decay of a sample can be measured.
    """

    count: int = 8000
    length: int = 1024
    rate: int = 4000
    noise: float = 0.002
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0 or self.length < 64 or self.rate < 2000 or self.noise < 0:
            raise Refused(
                "plucked strings need count >= 1, seed >= 0, length >= 64, rate >= 2000 and noise >= 0, and were given "
                f"{self}"
            )

    def load(self) -> Dataset:
        """The sounds with their notes."""
        random = np.random.Generator(np.random.Philox(self.seed))
        label = random.integers(len(NOTES), size=self.count)
        place, loud, decay = (random.uniform(*ends, self.count) for ends in ((0.2, 0.5), (0.2, 0.6), (3.0, 9.0)))
        pitch = A4 * 2.0 ** (np.array(list(NOTES.values()))[label] / 12)
        t = np.arange(self.length) / self.rate
        x = self.noise * random.standard_normal((self.count, self.length))
        for k in range(1, int(self.rate / 2 / pitch.min()) + 1):
            size = loud * np.sin(np.pi * k * place) / k**2 * (k * pitch < self.rate / 2)
            x += size[:, None] * np.exp(-k * decay[:, None] * t) * np.sin(2 * np.pi * k * pitch[:, None] * t)
        sounds = x[:, None].astype(np.float32)
        return Dataset(sounds, {"label": label}, tuple(NOTES), "plucked strings", notes={SOUND: {"rate": self.rate}})
