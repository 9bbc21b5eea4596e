"""PSNR and SSIM: how similar two images are."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from undiffuse.core.errors import Refused

WINDOW, SIGMA = 11, 1.5  # of SSIM, in pixels
K1, K2 = 0.01, 0.03
CHUNK = 2**24  # numbers that are looked at together
ROUNDED = 1 / 12  # the mean squared error of rounding to whole numbers


def psnr(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """10 log10(span^2 / mean (x - y)^2) of each item in dB, (count,).

    x, y: (count, *shape), in the data's units. span: the width of their range, 255 of 8 bit. Of whole numbers an error
    counts as at least that of rounding, 1/12, so that equal items have 58.9 dB at 8 bit, and not infinitely many.
    Raises Refused for two shapes, and for a range of no width.
    """
    _check(x, y, span)
    error = np.square(x.astype(np.float64) - y).reshape(len(x), -1).mean(1)
    least = ROUNDED if np.issubdtype(x.dtype, np.integer) else span**2 * np.finfo(np.float32).eps ** 2
    return 10 * np.log10(span**2 / np.maximum(error, least))


def ssim(x: np.ndarray, y: np.ndarray, span: float) -> np.ndarray:
    """mean of (2 m m' + c1) (2 cov + c2) / ((m^2 + m'^2 + c1) (v + v' + c2)) of each item, (count,): 1 where equal.

    x, y: images (count, channels, height, width) in the data's units, at least 11 pixels a side. span: as for `psnr`.
    Means m, variances v and cov are taken in Gaussian windows of 11 x 11 pixels, sigma 1.5, that lie inside the image;
    c1 = (0.01 span)^2, c2 = (0.03 span)^2; the mean is over windows and channels.
    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13.
    Raises Refused for items that are no such images, and as `psnr` does.
    """
    _check(x, y, span)
    if x.ndim != 4 or min(x.shape[2:]) < WINDOW:
        raise Refused(f"SSIM is for images of at least {WINDOW} x {WINDOW} pixels, not of shape {x.shape[1:]}")
    step = max(1, CHUNK // math.prod(x.shape[1:]))
    parts = (slice(start, start + step) for start in range(0, len(x), step))
    return np.concatenate([_ssim(_double(x[part]), _double(y[part]), span).numpy() for part in parts])


def _ssim(x: Tensor, y: Tensor, span: float) -> Tensor:
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x, var_y = _windowed(x * x) - mean_x**2, _windowed(y * y) - mean_y**2
    cov = _windowed(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return alike.flatten(1).mean(1)


def _windowed(x: Tensor) -> Tensor:
    """The weighted means in all windows; a Gaussian window is one of rows and then one of columns."""
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weight = (-(offset**2) / (2 * SIGMA**2)).exp()
    weight = weight / weight.sum()
    flat = x.reshape(-1, 1, *x.shape[2:])
    found = conv2d(conv2d(flat, weight.reshape(1, 1, -1, 1)), weight.reshape(1, 1, 1, -1))
    return found.reshape(*x.shape[:2], *found.shape[2:])


def _double(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x.astype(np.float64))


def _check(x: np.ndarray, y: np.ndarray, span: float) -> None:
    if x.shape != y.shape:
        raise Refused(f"items of shape {x.shape} and {y.shape} cannot be held against each other")
    if not span > 0:
        raise Refused(f"the items' range has the width {span:g}: it must be above 0")
