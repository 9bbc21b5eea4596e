"""Arguments as people give them, of Python, NumPy or torch, read once where they enter and refused by their names."""

import math
from collections.abc import Mapping
from numbers import Real
from operator import index
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused

SEEDS = 2**64  # 0 ... SEEDS - 1
INDICES = 2**63


def whole(value: Any, name: str, least: int | None = None, below: int | None = None) -> int:
    """An integer of any library, at least `least` and below `below`; raises Refused, by the name, for all else."""
    try:
        if isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) is torch.bool:
            raise TypeError
        found = index(value)
    except (TypeError, ValueError, RuntimeError):
        raise Refused(f"{name} is a whole number, not {shown(value)}") from None
    if (least is not None and found < least) or (below is not None and found >= below):
        ends = f"from {least} to {below - 1}" if below is not None else f"at least {least}"
        raise Refused(f"{name} is a whole number {ends}, not {shown(found)}")
    return found


def seed(value: Any) -> int:
    """A seed: any integer of 64 bits that is not negative."""
    return whole(value, "seed", 0, SEEDS)


def number(value: Any, name: str) -> float:
    """A real number of any library, not NaN; raises Refused, by the name, for all else."""
    plain: Any = value
    if isinstance(value, Tensor | np.ndarray | np.generic) and cast(Any, value).ndim == 0:
        plain = cast(Any, value).item()
    if isinstance(plain, bool) or not isinstance(plain, Real) or math.isnan(float(plain)):
        raise Refused(f"{name} is a number, not {shown(value)}")
    return float(plain)


def text(value: Any, name: str) -> str:
    """A text; raises Refused, by the name, for all else."""
    if not isinstance(value, str):
        raise Refused(f"{name} is a text, not {shown(value)}")
    return value


def indices(value: Any, n: int | None = None, what: str = "samples") -> Tensor:
    """n indices of samples, (n,) int64 from 0. Raises Refused for another count, what is not whole, or negative."""
    found = array(value, "indices")
    if found.dtype.kind not in "iu" and found.size:
        raise Refused(f"indices are whole numbers, not {shown(value)}")
    if found.ndim != 1 or (n is not None and len(found) != n):
        wanted = "a row of indices" if n is None else f"{n} indices"
        raise Refused(f"{'' if n is None else n} {what} need {wanted}, not {shape(found)}".strip())
    if len(found) and (int(found.min()) < 0 or int(found.max()) >= INDICES):
        raise Refused(f"indices count samples from 0 on; given are {found.min()} to {found.max()}")
    return torch.as_tensor(found.astype(np.int64))


def array(value: Any, name: str, *, gaps: bool = False) -> np.ndarray:
    """Finite real numbers as an array: a tensor leaves its device and its gradient, half precision becomes float32.

    gaps: NaN stands where a number is not known. Raises Refused, by the name, for what holds no numbers, NaN or
    infinity.
    """
    try:
        found = np.asarray(_plain(value))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise Refused(f"{name} is an array of numbers, not {shown(value)}") from None
    if found.dtype.kind not in "buif":
        raise Refused(f"{name} is an array of numbers, not {shown(value)}")
    if found.dtype.kind == "f" and not (np.isfinite(found) | (gaps & np.isnan(found))).all():
        raise Refused(f"{name} holds numbers that are not finite: {'' if gaps else 'NaN or '}infinity")
    return found


def tensor(value: Any, name: str) -> Tensor:
    """A tensor as it is, where it is; an array or a list of numbers as float32. Raises Refused for what has no rows."""
    found = value if isinstance(value, Tensor) else torch.as_tensor(array(value, name).astype(np.float32))
    if not found.ndim or not len(found):
        raise Refused(f"{name} has one row or more, and this has the shape {tuple(found.shape)}")
    return found


def shape(x: Any) -> str:
    """The shape of an array, for people: `5` for a row of five."""
    sizes = tuple(int(size) for size in x.shape)
    return str(sizes[0]) if len(sizes) == 1 else f"an array of shape {sizes}"


def shown(value: Any) -> str:
    """A value for a message: itself where it is short, else its type, and of an array its shape."""
    given: Any = value
    if isinstance(value, Tensor | np.ndarray) and given.ndim:
        return f"{str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
    if isinstance(value, int) and given.bit_length() > 256:
        return f"a number of {given.bit_length()} bits"
    said = repr(given)
    return said if len(said) <= 80 else f"{said[:77]}..."


def _plain(value: Any) -> Any:
    """What NumPy can read: tensors, and those in a list, without device, gradient and bfloat16."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value).numpy()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, str | bytes | Mapping):
        raise TypeError
    return value
