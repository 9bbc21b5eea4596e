"""Spectrograms of sounds and series: how loud each band of frequencies is, part by part, whatever the phases are."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.evaluation.features.pixels import PixelsFeatures

WINDOW, PARTS, BANDS = 256, 8, 32
FLOOR = 1e-7  # of a band's power, where sounds go from -1 to 1: below it all is silence


@dataclass(frozen=True, eq=False)
class SpectrogramFeatures(PixelsFeatures):
    """The principal components, as of `pixels`, of log power in up to 32 bands, evenly spaced in the logarithm of the
    frequency, in up to 8 parts of the time: windows of 256 samples, by half overlapped, weighed by a Hann window.

    Bands and parts are counted from the length of the items, not from seconds and cycles: of the mel scale they have
    the logarithm, and no rate. Raises Refused for other items than (channels, length).
    """

    @property
    def about(self) -> dict[str, Any]:
        """As of `pixels`, under another name."""
        return {**super().about, "features": "spectrogram", "version": 1}

    def fit(self, x: np.ndarray) -> Self:
        """A copy with the components of the spectrograms of x."""
        return super().fit(spectrograms(x))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The coordinates along the components."""
        return super().__call__(spectrograms(x))


def spectrograms(x: np.ndarray) -> np.ndarray:
    """Log power of items (count, channels, length), float32 (count, channels x bands x parts)."""
    if x.ndim != 3:
        raise Refused(f"features spectrogram see sounds and series, and the items have shape {x.shape[1:]}")
    window = min(WINDOW, x.shape[2])
    shape = np.hanning(window + 2)[1:-1].astype(np.float32)
    edges = np.unique(np.geomspace(1, window // 2 + 1, BANDS + 1).round().astype(int))
    found = []
    for start in range(0, len(x), 256):
        part = x[start : start + 256].astype(np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(part, window, axis=2)[:, :, :: max(1, window // 2)]
        power = np.abs(np.fft.rfft(frames * shape, axis=3)) ** 2 / window
        bands = np.add.reduceat(power, edges[:-1], axis=3)  # (count, channels, frames, bands)
        times = np.array_split(np.arange(bands.shape[2]), min(PARTS, bands.shape[2]))
        pooled = np.stack([bands[:, :, at].mean(2) for at in times], axis=3)
        found.append(np.log(pooled + FLOOR).reshape(len(part), -1).astype(np.float32))
    return np.concatenate(found)
