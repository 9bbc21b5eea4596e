"""A cascade of two exact models of Gaussian data: low ~ N(0, V), high given low ~ N(C low, W)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        low = F.interpolate(low, x.shape[2:])
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


def run(
    network: nn.Module, codec: Codec | None = None, shape: tuple[int, ...] = ITEM, **conditions: ImageCondition
) -> Any:
    """The network as a run of items of this shape."""
    about = described(shape, codec, **conditions)
    return Diffusion.of(Predictor(network, Gaussian(SCHEDULE), Data()).eval(), about)


def untrained(shape: tuple[int, ...], **conditions: ImageCondition) -> Any:
    """A run that can be saved: a small U-Net with its first weights."""
    torch.manual_seed(0)
    about = described(shape, None, **conditions)
    return Diffusion.of(Diffusion.build(about).eval(), about)


def described(shape: tuple[int, ...], codec: Codec | None, **conditions: ImageCondition) -> Description:
    """All that is said of a run but its weights."""
    tables: dict[str, Any] = {
        "data": {"name": "file", "path": "toy.npz"},
        "codec": {"name": "identity"},
        "schedule": {"name": "continuous_cosine"},
        "network": {"name": "unet", "width": 4, "multipliers": [1], "blocks": 1, "attention": []},
        "parameterization": {"name": "data"},
        "objective": {"name": "denoising"},
        "sampler": {"name": "adams", "steps": 40},
        "conditions": {name: each.written() for name, each in conditions.items()},
        "train": {"steps": 1},
    }
    return Description(Recipe.of("toy", tables), shape, conditions, codec or Identity(), {})


def replaced(run: Any, **tables: Any) -> Any:
    """The run with other fields in the tables of its recipe."""
    recipe = run.recipe
    said = {name: {**recipe[name], **fields} for name, fields in tables.items()}
    return replace(run, recipe=recipe.with_tables(**said))


def low(noise: float = 1.0, shape: tuple[int, ...] = ITEM) -> ImageCondition:
    return ImageCondition(noise=noise, shape=shape)
