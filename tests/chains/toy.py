"""A cascade of two exact models of Gaussian data: low ~ N(0, V), high given low ~ N(C low, W)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.codecs.codec import Codec
from undiffuse.codecs.identity import Identity
from undiffuse.conditions.image import ImageCondition
from undiffuse.core.denoiser import Predictor
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.schedule import Schedule
from undiffuse.models.diffusion import Diffusion
from undiffuse.parameterizations.data import Data
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules import ContinuousCosine

V, C, W = 0.5, 0.8, 0.2
SCHEDULE = ContinuousCosine()
ITEM = (1, 1, 1)


class Base(nn.Module):
    """E[low given x_t] of N(shift, V)."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift, dtype=torch.float32))

    def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
        alpha, sigma = levels(SCHEDULE, c_time, x)
        return self.shift + alpha * V / (alpha**2 * V + sigma**2) * (x - alpha * self.shift)


class Up(nn.Module):
    """E[high given x_t and sqrt(1 - s^2) low + s eps], where the level s stands in the second channel as 2 s - 1."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(C, dtype=torch.float32))

    def forward(self, x: Tensor, c_time: Tensor, low: Tensor, **cond: Any) -> Tensor:
        noisy, s = low[:, :1], (low[:, 1:] + 1) / 2
        seen = (1 - s**2) * V + s**2
        mean = self.gain * (1 - s**2).sqrt() * V / seen * noisy
        var = self.gain**2 * V * s**2 / seen + W
        alpha, sigma = levels(SCHEDULE, c_time, x)
        return mean + alpha * var / (alpha**2 * var + sigma**2) * (x - alpha * mean)


def levels(schedule: Schedule, c_time: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma at the time of the index c_time = 1000 t - 1."""
    alpha, sigma = schedule.at((c_time.double() + 1) / 1000, like)
    return alpha.to(like), sigma.to(like)


def run(network: nn.Module, codec: Codec | None = None, **conditions: ImageCondition) -> Any:
    """The network as a run."""
    tables: dict[str, Any] = {
        "data": {"name": "file", "path": "toy.npz"},
        "codec": {"name": "identity"},
        "schedule": {"name": "continuous_cosine"},
        "network": {"name": "unet"},
        "parameterization": {"name": "data"},
        "objective": {"name": "denoising"},
        "sampler": {"name": "adams", "steps": 40},
        "conditions": {name: each.written() for name, each in conditions.items()},
        "train": {"steps": 1},
    }
    about = Description(Recipe.of("toy", tables), ITEM, conditions, codec or Identity(), {})
    return Diffusion.of(Predictor(network, Gaussian(SCHEDULE), Data()).eval(), about)


def replaced(run: Any, **tables: Any) -> Any:
    """The run with other fields in the tables of its recipe."""
    recipe = run.recipe
    said = {name: {**recipe[name], **fields} for name, fields in tables.items()}
    return replace(run, recipe=recipe.with_tables(**said))


def low(noise: float = 1.0) -> ImageCondition:
    return ImageCondition(noise=noise, shape=ITEM)
