"""PSNR and SSIM against what they are written out."""

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.evaluation.similarity import psnr, ssim

RANDOM = np.random.default_rng(0)


def written_out(x: np.ndarray, y: np.ndarray, span: float) -> float:
    """SSIM of two grey images, window after window (Wang et al. 2004, eq. 13 to 16)."""
    steps = np.arange(-5, 6)
    weights = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2, found = (0.01 * span) ** 2, (0.03 * span) ** 2, []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11].astype(float), y[i : i + 11, j : j + 11].astype(float)
            m, n = (weights * a).sum(), (weights * b).sum()
            v, w = (weights * (a - m) ** 2).sum(), (weights * (b - n) ** 2).sum()
            cov = (weights * (a - m) * (b - n)).sum()
            found.append((2 * m * n + c1) * (2 * cov + c2) / ((m * m + n * n + c1) * (v + w + c2)))
    return float(np.mean(found))


def test_ssim_is_the_mean_over_windows_and_channels():
    x = RANDOM.integers(0, 256, (2, 3, 13, 16)).astype(np.uint8)
    y = np.clip(x + RANDOM.normal(0, 30, x.shape), 0, 255).astype(np.uint8)
    wanted = [np.mean([written_out(x[i, c], y[i, c], 255.0) for c in range(3)]) for i in range(2)]
    np.testing.assert_allclose(ssim(x, y, 255.0), wanted, atol=1e-12)
    np.testing.assert_allclose(ssim(x / 255, y / 255, 1.0), wanted, atol=1e-12)


def test_ssim_sees_structure_and_no_more_than_1():
    x = RANDOM.random((1, 1, 20, 20))
    flat = np.full_like(x, 0.5)
    assert ssim(x, x, 1.0) == pytest.approx(1, abs=1e-12)
    assert ssim(x, 1 - x, 1.0) < 0 < ssim(x, flat, 1.0) + 0.1 < 0.2
    black, white = np.zeros_like(x), np.ones_like(x)
    assert ssim(black, white, 1.0) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-9)


def test_psnr_is_that_of_the_formula():
    x = np.zeros((2, 1, 2, 2), np.uint8)
    y = x.copy()
    y[0] = 10
    found = psnr(x, y, 255.0)
    assert found[0] == pytest.approx(20 * np.log10(25.5))
    assert found[1] == pytest.approx(10 * np.log10(12 * 255**2)), "equal whole numbers differ by rounding at most"
    assert psnr(x / 255, y / 255, 1.0)[0] == pytest.approx(found[0])


def test_what_cannot_be_compared_is_refused():
    x = np.zeros((1, 1, 12, 12))
    with pytest.raises(Refused, match=r"\(1, 1, 12, 12\) and \(1, 1, 12, 11\) cannot be held against each other"):
        psnr(x, x[..., :-1], 1.0)
    with pytest.raises(Refused, match="width 0: it must be above 0"):
        ssim(x, x, 0.0)
    for small in (x[..., :10], x[:, 0]):
        with pytest.raises(Refused, match=r"SSIM is for images of at least 11 x 11 pixels"):
            ssim(small, small, 1.0)
