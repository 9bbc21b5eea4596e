"""What bounds and densities ask of a denoiser and of data before they start, and how they go through many data."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import arguments
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import first, rows
from undiffuse.core.process.process import Process
from undiffuse.core.random import Random

Progress = Callable[[int, int], None]  # is told (done, total)

BITS = 1 / math.log(2)  # bits in a nat
ROWS = 256  # data at once, where nobody says


def silent(done: int, total: int) -> None:
    """Progress that nobody sees."""


def has_tokens(denoiser: Denoiser) -> bool:
    """Whether the denoiser's data are tokens."""
    return denoiser.process.family == "tokens"


def checked(denoiser: Denoiser, x_0: Any) -> Any:
    """The data on the device of the denoiser's weights, values in float64; of a `Product` each part.

    Raises Refused for guesses that belong to no density, other parts than the process's, no data, and values that are
    not finite.
    """
    if why := denoiser.no_density():
        raise Refused(f"{type(denoiser).__name__} has no likelihood: {why}")
    device = denoiser.device or first(x_0).device
    if denoiser.process.family != "mixed":
        return _checked(denoiser.process, x_0, denoiser.symbols, device)
    named: Mapping[str, Process] = denoiser.process.parts  # type: ignore[attr-defined]
    if not isinstance(x_0, Mapping) or set(x_0) != set(named):  # pyright: ignore[reportUnknownArgumentType]
        raise Refused(f"the data of a product are a dictionary of its parts: {', '.join(named)}")
    parts: Mapping[str, Any] = x_0  # pyright: ignore[reportUnknownVariableType]
    return {name: _checked(part, parts[name], None, device) for name, part in named.items()}


def _checked(process: Process, x_0: Any, symbols: int | None, device: torch.device) -> Tensor:
    if isinstance(x_0, Mapping):
        raise Refused(f"several parts together need a denoiser of a Product; this one's process is of {process.family}")
    tokens = process.family == "tokens"
    if len(x_0) == 0:
        raise Refused("there are no data to score")
    if tokens == x_0.is_floating_point():
        wanted = (
            "integers, which its tokens are" if tokens else "floating-point numbers (encoded, if they were integers)"
        )
        raise Refused(f"the data have dtype {x_0.dtype}; this denoiser needs {wanted}")
    if not tokens and not bool(x_0.isfinite().all()):
        raise Refused("the data hold numbers that are not finite")
    if tokens and symbols is not None and int(x_0.max()) >= symbols:
        raise Refused(
            f"the data have the token {int(x_0.max())}, and the symbols of data are 0 ... {symbols - 1}: what lies "
            "behind them, a mask, has no probability"
        )
    return x_0.to(device) if tokens else x_0.to(device, torch.float64)


def parts(
    x_0: Any, seed: int, indices: Tensor | None, batch: int | None, cond: Mapping[str, Tensor]
) -> Iterator[tuple[slice, Any, Random, dict[str, Tensor]]]:
    """(which, data, their random numbers, their conditions) of so many at once; datum i draws by (seed, indices[i])."""
    if batch is not None and arguments.whole(batch, "batch") < 1:
        raise Refused(f"batch must be at least 1, not {batch}")
    if "mask" in cond:
        raise Refused("a likelihood takes items of one size: score those of each size apart, without a mask")
    count = len(first(x_0))
    which = torch.arange(count) if indices is None else arguments.indices(indices, count, "data")
    for start in range(0, count, batch or ROWS):
        some = slice(start, start + (batch or ROWS))
        yield some, rows(x_0, some), Random(seed, which[some]), {name: value[some] for name, value in cond.items()}


def error_of_mean(values: Tensor) -> float:
    """The standard error of the mean over data, std / sqrt(count); nan for one datum."""
    return float(values.std(unbiased=True) / len(values) ** 0.5) if len(values) > 1 else math.nan
