"""Numbers come back in their own kind: with the places behind the point that the data have, and inside a range."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Inside = Literal["whole", "all", "none"]
PLACES = 9  # behind the point that are looked for
ROUGH = 2  # digits of a range's width that its ends are rounded to


def places(column: np.ndarray) -> int:
    """How many places behind the point all numbers have, as their dtype tells them.

    -1: more than are looked for, or than the dtype has at the greatest of them.
    """
    wide, finest = column.astype(np.float64), float(np.spacing(np.abs(column).max())) / 2
    for count in range(PLACES + 1):
        if count and 10.0**-count < finest:
            break
        if (np.round(wide, count).astype(column.dtype) == column).all():
            return count
    return -1


def reach(column: np.ndarray, count: int) -> tuple[float, float]:
    """The least and the greatest number; of numbers with places behind the point rounded outwards to ROUGH digits of
    the width, so that they are nobody's own.
    """
    low, high = float(column.min()), float(column.max())
    if count == 0 or low == high:
        return low, high
    low, high = (round(low, count), round(high, count)) if count > 0 else (low, high)
    power = int(np.floor(np.log10(high - low))) - ROUGH
    power = power if count < 0 else max(power, -count)
    step = 10.0**power
    ends = np.floor(np.round(low / step, 9)), np.ceil(np.round(high / step, 9))
    return round(float(ends[0] * step), -power), round(float(ends[1] * step), -power)


def restored(x: Tensor, decimals: Sequence[int], low: Sequence[float], high: Sequence[float], inside: Inside) -> Tensor:
    """Numbers (rows, columns) in float64 as the data have them: rounded to their places, and kept between low and high.

    inside: which columns are: "whole" numbers, "all", or "none". What never changes stays what it is.
    """
    digits, least, most = (torch.tensor(each, dtype=torch.float64, device=x.device) for each in (decimals, low, high))
    scale = 10 ** digits.clamp(min=0)
    x = torch.where(digits < 0, x, (x * scale).round() / scale)
    held = {"whole": (digits == 0) | (least == most), "all": least <= most, "none": least == most}[inside]
    return torch.where(held, torch.minimum(torch.maximum(x, least), most), x)
