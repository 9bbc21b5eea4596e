"""Filling in what is not known of an item, by a model that was trained for it: forecasts and imputation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest


@devices.on_cpu()
def impute(
    model: Generator, x: np.ndarray | Tensor, n: int = 1, request: SampleRequest | None = None, **options: Any
) -> Tensor:
    """n draws of an item given its known numbers, in the data's units: (n, channels, ...). The known ones stay.

    x: (channels, ...) with NaN where it is asked for. request, options: as in `Generator.sample`. Raises Refused for
    runs without a condition of kind `known`, and for another shape.
    """
    name = completed_by(model)
    given, shape = arguments.array(x, name, gaps=True), model.data_shape
    if given.shape != (shape if given.ndim == len(shape) or shape[0] > 1 else shape[1:]):
        raise Refused(f"{name} is a series of shape {shape} with NaN where it is asked for; given is {given.shape}")
    drawn = model.sample(n, request, **{**options, name: given}).as_subclass(Tensor)
    known = torch.as_tensor(given).reshape(shape)
    return torch.where(torch.isnan(known), drawn, known.nan_to_num().to(drawn.dtype))


def completed_by(model: Generator) -> str:
    """The condition by which a model completes items; raises Refused where there is none."""
    if not (name := completes(model)):
        raise Refused(
            "this run was not trained to fill in what is unknown: train one with a condition of kind known, as the "
            "recipe series does"
        )
    return name


def completes(model: Generator) -> str:
    """The condition by which a model completes items; "" where there is none."""
    return next((name for name, condition in model.conditions.items() if condition.completes), "")


def windows(values: np.ndarray, length: int, horizon: int) -> Iterator[tuple[int, np.ndarray]]:
    """(step of its first number, window) of what is to be completed of a series (steps, channels) with NaN where it is
    missing, windows (channels, length).

    horizon: so many steps beyond the end, in one window; 0: none, and every window with something missing. In front of
    a series that is shorter nothing is known.
    """
    steps, channels = values.shape
    if horizon:
        start = steps + horizon - length
        found = np.full((length, channels), np.nan)
        past = values[max(0, start) :]
        found[length - horizon - len(past) : length - horizon] = past
        yield start, found.T
        return
    starts = [0] if steps <= length else sorted({*range(0, steps - length, length), steps - length})
    for start in starts:
        found = np.full((length, channels), np.nan)
        part = values[start : start + length]
        found[: len(part)] = part
        if np.isnan(part).any():
            yield start, found.T
