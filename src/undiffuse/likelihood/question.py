"""What bounds and densities ask of a denoiser and of data before they start, and how they go through many data."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import arguments
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random

Progress = Callable[[int, int], None]  # is told (done, total)

BITS = 1 / math.log(2)  # bits in a nat
ROWS = 256  # data at once, where nobody says


def silent(done: int, total: int) -> None:
    """Progress that nobody sees."""


def has_tokens(denoiser: Denoiser) -> bool:
    """Whether the denoiser's data are tokens."""
    return denoiser.process.family == "tokens"


def has_rows(denoiser: Denoiser) -> bool:
    """Whether the denoiser's data are rows, of numbers and tokens side by side."""
    return denoiser.process.family == "mixed"


def checked(denoiser: Denoiser, x_0: Any) -> Tensor:
    """The data on the device of the denoiser's weights, values in float64.

    Raises Refused for guesses that belong to no density, for several parts, no data, and values that are not finite.
    """
    if why := denoiser.no_density():
        raise Refused(f"{type(denoiser).__name__} has no likelihood: {why}")
    if isinstance(x_0, Mapping):
        raise Refused("a likelihood of several parts together is for rows, MixedColumns: ask for each part alone")
    tokens = has_tokens(denoiser)
    if len(x_0) == 0:
        raise Refused("there are no data to score")
    if tokens == x_0.is_floating_point():
        wanted = (
            "integers, which its tokens are" if tokens else "floating-point numbers (encoded, if they were integers)"
        )
        raise Refused(f"the data have dtype {x_0.dtype}; this denoiser needs {wanted}")
    if not tokens and not bool(x_0.isfinite().all()):
        raise Refused("the data hold numbers that are not finite")
    symbols = denoiser.symbols
    if tokens and symbols is not None and int(x_0.max()) >= symbols:
        raise Refused(
            f"the data have the token {int(x_0.max())}, and the symbols of data are 0 ... {symbols - 1}: what lies "
            "behind them, a mask, has no probability"
        )
    device = denoiser.device or x_0.device
    return x_0.to(device) if tokens else x_0.to(device, torch.float64)


def parts(
    x_0: Tensor, seed: int, indices: Tensor | None, batch: int | None, cond: Mapping[str, Tensor]
) -> Iterator[tuple[slice, Tensor, Random, dict[str, Tensor]]]:
    """(which, data, their random numbers, their conditions) of so many at once; datum i draws by (seed, indices[i])."""
    if batch is not None and arguments.whole(batch, "batch") < 1:
        raise Refused(f"batch must be at least 1, not {batch}")
    which = torch.arange(len(x_0)) if indices is None else arguments.indices(indices, len(x_0), "data")
    for start in range(0, len(x_0), batch or ROWS):
        rows = slice(start, start + (batch or ROWS))
        yield rows, x_0[rows], Random(seed, which[rows]), {name: value[rows] for name, value in cond.items()}


def error_of_mean(values: Tensor) -> float:
    """The standard error of the mean over data, std / sqrt(count); nan for one datum."""
    return float(values.std(unbiased=True) / len(values) ** 0.5) if len(values) > 1 else math.nan
