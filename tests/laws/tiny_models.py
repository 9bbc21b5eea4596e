"""A small model of each kind, beside data for it: what laws over guidance, objectives and likelihoods are run on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.bottlenecks.kl import KLBottleneck
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.autoregressive import Autoregressive
from undiffuse.core.condition_dropout import drop_mask
from undiffuse.core.denoiser import Predictor
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.heads.embeddings import EmbeddingHead
from undiffuse.core.heads.learned_variance import LearnedVariance
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.image_text_pair import ImageTextPair
from undiffuse.core.implicit import ImplicitModel
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.network import Depth, HasDepths, Network
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.level_heads.softmax import Softmax
from undiffuse.networks.fvbn import FVBN
from undiffuse.networks.mlp_autoencoder import MLPAutoencoder
from undiffuse.networks.mlp_generator import MLPGenerator
from undiffuse.networks.text_transformer import TextTransformer
from undiffuse.parameterizations.data import Data
from undiffuse.parameterizations.velocity import Velocity
from undiffuse.rendering.scene_module import SceneModule
from undiffuse.scenes.image import ImageScene
from undiffuse.schedules import LinearBeta, LogLinear

N = 3


class Tiny(Network, HasDepths):
    """As many numbers as asked for each item, or each token, and others with a label."""

    reads_time = False

    def __init__(self, out: int, tokens: int = 0) -> None:
        super().__init__()
        self.layer = nn.Embedding(tokens, out) if tokens else nn.Linear(2, out)
        self.label = nn.Embedding(3, out)

    def depths(self) -> dict[str, Depth]:
        return {"middle": Depth(self.layer, self.label.embedding_dim, channels_last=True)}

    def forward(self, x: Tensor, c_time: Tensor, label: Any = None, drop: Any = None, **cond: Any) -> Tensor:
        found = self.layer(x)
        if label is None:
            return found
        told, null = self.label(label), drop_mask(drop, "label")
        if null is not None:
            told = torch.where(null[:, None], 0.0, told)
        return found + told.reshape(len(x), *(1,) * (found.ndim - 2), -1)


class Columns(Tiny):
    """Of sequences (batch, 2, length), one item a column."""

    def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
        return super().forward(x.transpose(1, 2), c_time, **cond).transpose(1, 2)


class Apart(nn.Module):
    """A network for each part."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, x: Any, c_time: Tensor, **cond: Any) -> dict[str, Tensor]:
        return {name: part(x[name], c_time, **cond) for name, part in self.parts.items()}


class Prior(nn.Module):
    """The prior of a scene, which is told nothing of the cameras."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def conditions(self, cameras: Tensor) -> dict[str, Any]:
        return {}


VALUES, TOKENS = Gaussian(LinearBeta(40)), Categorical(LogLinear(floor=0.0), mask(4))
MOMENT = LearnedVariance(Velocity(), "second_moment")
HEADS = {"numbers": MOMENT, "kinds": TokenHead("subs")}
PRODUCT = Product({"numbers": VALUES, "kinds": TOKENS})
ITEMS = Random(0).normal((N, 2))
WORDS = Random(1).integers(3, (N, 2))
BOTH: dict[str, Tensor] = {"numbers": ITEMS, "kinds": WORDS}
LABEL = torch.tensor([0, 1, 2])
BINARY = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]], dtype=torch.float32).reshape(N, 1, 1, 2)
CAMERAS = torch.zeros(N, 4, dtype=torch.float32)
MODELS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "values": (lambda: Predictor(Tiny(4), VALUES, MOMENT), ITEMS),
    "tokens": (lambda: Predictor(Tiny(4, 4), TOKENS, TokenHead("subs")), WORDS),
    "mixed": (lambda: Predictor(Apart(numbers=Tiny(4), kinds=Tiny(4, 4)), PRODUCT, HEADS), BOTH),
    "range": (lambda: Predictor(Tiny(4), VALUES, LearnedVariance(Velocity(), "learned_range")), ITEMS),
    "plain": (lambda: Predictor(Tiny(2), VALUES, Velocity()), ITEMS),
    "one_step": (lambda: Predictor(Tiny(2), VALUES, Velocity(), "data"), ITEMS),
    "jumps": (lambda: Predictor(Tiny(2), VALUES, Velocity(), "any"), ITEMS),
    "ratios": (lambda: Predictor(Tiny(4, 4), Categorical(LogLinear(), uniform(4)), TokenHead("ratios")), WORDS),
    "embeddings": (lambda: Predictor(Columns(2), VALUES, EmbeddingHead(Data(), VALUES.schedule, 4, 2)), WORDS),
    "autoencoder": (lambda: Autoencoder(MLPAutoencoder(shape=(2,), outputs=4, width=4), KLBottleneck()), ITEMS),
    "label": (lambda: NoisyClassifier(Tiny(3), VALUES, Velocity()), ITEMS),
    "item": (lambda: ItemPredictor(Tiny(3), VALUES, Velocity()), ITEMS),
    "pair": (lambda: ImageTextPair(ItemPredictor(Tiny(3), VALUES, Velocity()), TextTransformer((2,), 4), 3, 4), ITEMS),
    "density": (lambda: Autoregressive(FVBN(1, (1, 1, 2), classes=3), Softmax(2), Decoder(-1.0, 1.0, 2)), BINARY),
    "generator": (lambda: ImplicitModel(MLPGenerator(width=4, classes=3)), ITEMS),
    "scene": (lambda: SceneModule(ImageScene((2,), 2), Prior(Predictor(Tiny(2), VALUES, Velocity()))), CAMERAS),
}  # fmt: skip
