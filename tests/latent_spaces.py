"""Autoencoders that are written down: linear ones, and one that looks at few pixels."""

import math
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.identity import Identity
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.label import LabelCondition
from undiffuse.conditions.text import TextCondition
from undiffuse.conditions.vector import VectorCondition
from undiffuse.core.denoiser import Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.item_encoder import ItemEncoder
from undiffuse.core.item_reader import ItemReader
from undiffuse.core.latent_space import LatentSpace
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.models.diffusion import Diffusion
from undiffuse.networks.mlp import MLP
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.schedules.edm import EDMSchedule


class Written(LatentSpace):
    """What the ones here share."""

    bound = False
    name = ""

    @property
    def vocabulary(self) -> int:
        return 0

    def tokens(self, x: Any) -> Tensor:
        raise Refused("no codebook")

    def latents_of(self, tokens: Tensor) -> Tensor:
        raise Refused("no codebook")

    @property
    def digest(self) -> str:
        return self.name or type(self).__name__

    @property
    def lossless_bound(self) -> bool:
        return self.bound


class Linear(Written):
    """z = encoder x + noise of variance `var`, (k,); x = decoder z + noise of variance `left`, for points (n, d)."""

    bound = True

    def __init__(self, encoder: Tensor, decoder: Tensor, var: Tensor | float = 0.0, left: float = 1.0) -> None:
        self.encoder, self.decoder, self.left = encoder.double(), decoder.double(), left
        self.var = torch.as_tensor(var, dtype=torch.float64)

    @property
    def inner(self) -> Any:
        return Identity()

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if shape != (self.encoder.shape[1],):
            raise Refused(f"the autoencoder is of items of shape {(self.encoder.shape[1],)}, not {shape}")
        return (len(self.encoder),)

    def posterior(self, x: np.ndarray | Tensor) -> Normal:
        mean = torch.as_tensor(x).double() @ self.encoder.T
        return Normal(mean, self.var.expand(mean.shape))

    def decode(self, z: Tensor) -> Tensor:
        return (z.double() @ self.decoder.T).float()

    def log_prob(self, x: np.ndarray | Tensor, z: Tensor) -> Tensor:
        rest = torch.as_tensor(x).double() - z.double() @ self.decoder.T
        return -0.5 * (rest.square() / self.left + math.log(2 * math.pi * self.left)).sum(1)


class Blocks(Written):
    """Images (channels, h, w) of 8 bit: latents are means of 2 x 2 blocks; decoding copies them, and adds a share of
    the one to the left.
    """

    counted = 0

    def __init__(self, channels: int = 1, near: float = 0.25, std: float = 0.0, name: str = "") -> None:
        self.channels, self.near, self.std, self.name = channels, near, std, name

    @property
    def inner(self) -> Any:
        return PixelsCodec()

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 3 or shape[0] != self.channels or shape[1] % 2 or shape[2] % 2:
            raise Refused(f"the autoencoder is of {self.channels} channels of even sides, not of shape {shape}")
        return (shape[0], shape[1] // 2, shape[2] // 2)

    def posterior(self, x: np.ndarray | Tensor) -> Normal:
        self.counted += len(x)
        pixels = self.inner.encode(x)
        mean = torch.nn.functional.avg_pool2d(pixels, 2)
        return Normal(mean, torch.full_like(mean, self.std**2))

    def decode(self, z: Tensor) -> Tensor:
        left = torch.nn.functional.pad(z, (1, 0))[..., :-1]
        wide = (z + self.near * left).repeat_interleave(2, 2).repeat_interleave(2, 3)
        return self.inner.decode(wide)

    def log_prob(self, x: np.ndarray | Tensor, z: Tensor) -> Tensor:
        raise Refused("no density")


def part(interface: type, name: str) -> Any:
    """What a recipe asks of a run that it names: an autoencoder, a denoiser of pixels, or a reader of items."""
    if issubclass(Predictor, interface):
        return Predictor(MLP(), Gaussian(EDMSchedule()), "edm")
    silent = next((each for each in (Silent, SilentPair) if issubclass(each, interface)), None)
    return Blocks() if silent is None else silent()


class Silent(ItemReader):
    """A regressor that is never asked."""

    columns: Any = ()
    targets: Any = ()

    def told_of(self, rows: Any, learned: bool = False) -> Any:
        raise NotImplementedError


class SilentPair(ItemEncoder, TextEncoder):
    """A pair of encoders that is never asked."""

    digest: Any = "pair"
    space: Any = "pair"
    width: Any = 8
    data_shape: Any = (3, 8, 8)
    embedded_shape: Any = (5, 8)

    def encode_image(self, x: Any) -> Tensor:
        raise NotImplementedError

    def encode_text(self, texts: Any) -> Tensor:
        raise NotImplementedError

    def embed(self, texts: Any) -> Tensor:
        raise NotImplementedError


@cache
def base(channels: int = 1) -> Diffusion:
    """A run of pictures of two classes that nobody trained, in place of the base of a controlnet."""
    network = {"name": "unet", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [1], "time_scale": 250.0}
    recipe = resolve(replace(Recipe.find("fashion-class").with_tables(network=network), name="base"))
    conditions = {"label": LabelCondition(0.15, classes=("a", "b"))}
    facts: Any = {"data": {"dtype": "uint8"}, "step": 1}
    about = Description(recipe, (channels, 8, 8), conditions, PixelsCodec(0.0, 255.0), facts)
    made = Diffusion.build(about)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(weight.numel()))
    return Diffusion.of(made.eval().requires_grad_(False), about)


def named(path: str) -> Any:
    """What is in place of a run that a bundled recipe names."""
    if path == "runs/emoji-vq":
        return CODED
    if path == "runs/solids-text":
        return READS_WORDS
    return base() if path in ("runs/fashion-class", "runs/photos") else WRITTEN


WRITTEN = SimpleNamespace(  # in place of the runs that a recipe names
    part=part,
    recipe={"codec": {"name": "pixels"}},
    shape=(3, 8, 8),
    denoises=True,
    denoiser=SimpleNamespace(jumps="none"),
    codec=SimpleNamespace(tokens=False, mixed=False, bounds=(-1.0, 1.0)),
    conditions={
        "label": LabelCondition(0.1, classes=("3", "cone", "cube")),
        "colour": VectorCondition(0.1, (3,)),
        "camera": VectorCondition(0.1, (3,)),
    },
)


READS_WORDS = SimpleNamespace(
    **{**vars(WRITTEN), "conditions": {"text": TextCondition(0.1).fit(np.array(["red cone"]), ())}}
)


class Coded(Blocks):
    """The same with a codebook."""

    vocabulary = 8  # pyright: ignore[reportAssignmentType]


CODED = SimpleNamespace(part=lambda interface, name: Coded(3), recipe={"codec": {"name": "pixels"}}, shape=(3, 8, 8))


def pictures(count: int = 40, side: int = 8, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
