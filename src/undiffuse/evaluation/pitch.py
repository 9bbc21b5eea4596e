"""The pitch of sounds, measured by how well they are like themselves some samples later."""

import numpy as np

NEAR = 0.9  # of the best likeness: the first lag that comes so near is the period, not a multiple of it
LOW = 2  # samples: no shorter period is heard


def periods(x: np.ndarray) -> np.ndarray:
    """The period of each sound (count, length) in samples, nan of silence: the first lag k near the highest of

        n_k = 2 sum x_i x_(i+k) / sum (x_i^2 + x_(i+k)^2),

    between samples by the parabola through three of them. Source: McLeod and Wyvill 2005.
    """
    x = x.astype(np.float64) - x.mean(1, keepdims=True)
    count, length = x.shape
    spectrum = np.abs(np.fft.rfft(x, 2 * length, axis=1)) ** 2
    product = np.fft.irfft(spectrum, axis=1)[:, : length // 2]
    ends = np.concatenate([np.zeros((count, 1)), np.cumsum(x**2, axis=1)], axis=1)
    lags = np.arange(length // 2)
    energy = ends[:, length - lags] + ends[:, -1:] - ends[:, lags]
    like = 2 * product / np.where(energy > 0, energy, 1.0)
    middle = like[:, 1:-1]
    peak = (middle >= like[:, :-2]) & (middle > like[:, 2:]) & (lags[1:-1] >= LOW) & (middle > 0)
    best = np.where(peak, middle, 0).max(1, initial=0)
    first = np.argmax(peak & (middle >= NEAR * best[:, None]), axis=1) + 1
    left, here, right = (like[np.arange(count), first + i] for i in (-1, 0, 1))
    bend = left - 2 * here + right
    found = first + 0.5 * (left - right) / np.where(bend < 0, bend, -1.0)
    return np.where(best > 0, found, np.nan)
