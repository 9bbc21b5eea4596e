"""Points in the plane on the way to noise and back, and the drift that a model has learned."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from undiffuse.conditions.given import requested
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.pictures import extent_of, field_strip
from undiffuse.sampling.classifier_guidance import LABEL
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.samples import Samples

FILE = "process.png"
SHARES, ARROWS = (1.0, 0.5, 0.2, 0.08, 0.03, 0.0), 15  # of noise at the moments shown, and arrows a side
STEP = 0.025  # of time, from each moment shown to the one that the drift points to


@dataclass(frozen=True)
class DriftField:
    """At each of `times`, falling: data with noise and samples on their way, (times, n, 2), and the drift at `places`,
    (times, m, 2); all as the network sees them, as bright as data.
    """

    times: list[float]
    forward: np.ndarray
    reverse: np.ndarray
    places: np.ndarray
    drift: np.ndarray

    def picture(self) -> Image.Image:
        """The three rows below each other."""
        extent = extent_of(self.forward[0], self.forward[-1])
        return field_strip(self.forward, self.reverse, self.places, self.drift, self.times, extent)


@torch.no_grad()
def way(
    model: DenoisingGenerator,
    x: np.ndarray,
    path: Samples,
    times: Tensor,
    seed: int = 0,
    conditions: Mapping[str, Any] = MappingProxyType({}),
) -> DriftField | None:
    """What happens to data x (n, 2) and to the samples of a path; None for data that are no points in the plane.

    drift: E[x_s given x_t] - x_t of the reverse process from t to s = t - STEP; at t = 0 that of the last step.
    conditions: of items; the model is given those that it cannot do without, of the first item, and the first class.
    """
    if not path.are_points or x.shape[1] != 2 or path.frames is None:
        return None
    process: Any = model.denoiser.process
    which = _moments(process.schedule, times)
    data = model.codec.encode(x).to(model.device)
    moved = [process.shown(process.marginal(data, t).sample(Random(seed)), t) for t in times[which]]
    forward = torch.stack(moved).cpu().numpy()
    low, high = extent_of(forward[0], forward[-1])
    side = torch.linspace(low, high, ARROWS + 2, dtype=torch.float32)[1:-1]
    places = torch.cartesian_prod(side, side).to(model.device)
    cond = _needed(model, conditions, len(places))
    drift = [_drift(model, places, float(t), cond) for t in times[which].clamp(min=float(times[-2]))]
    reverse = np.stack([model.codec.encode(path.frames[i]).numpy() for i in which])
    where = places.cpu().numpy()[None].repeat(len(which), 0)
    return DriftField(times[which].tolist(), forward, reverse, where, np.stack(drift))


def _moments(schedule: Schedule, times: Tensor) -> list[int]:
    """The places among the times at which the noise's share of the variance, for data of variance 1, is next to SHARES;
    the first and the last are among them.
    """
    noise, signal = schedule.sigma(times) ** 2, schedule.alpha(times) ** 2
    share = noise / (noise + signal)
    near = {int((share - wanted).abs().argmin()) for wanted in SHARES[1:-1]}
    return sorted({0, *near, len(times) - 1})


def _needed(model: DenoisingGenerator, conditions: Mapping[str, Any], n: int) -> dict[str, Tensor]:
    """The conditions that the model cannot do without, the same for n points."""
    needed = [name for name, condition in model.conditions.items() if condition.drop == 0]
    some = {name: model.classes[0] if name == LABEL else conditions[name][0] for name in needed}
    return requested(model.conditions, n, some, model.device) if needed else {}


def _drift(model: DenoisingGenerator, places: Tensor, t: float, cond: Mapping[str, Tensor]) -> np.ndarray:
    """The mean step back of points at these places."""
    process: Any = model.denoiser.process
    one = torch.ones(1, 1, dtype=places.dtype, device=places.device)
    x_t, s = places / process.shown(one, t), max(0.0, t - STEP)
    conditions: dict[str, Any] = dict(cond)
    back = process.bridge(x_t, model.denoiser(x_t, t, **conditions).mean_only(), s, t).mean
    return (process.shown(back, s) - places).float().cpu().numpy()
