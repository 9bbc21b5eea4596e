"""An autoencoder: turns items into latents and back, alone or at the edge of a model of latents."""

from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.codecs.codec import Codec
from undiffuse.codecs.level_grid import levels
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import arguments
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.latent_space import LatentSpace
from undiffuse.core.random import Random
from undiffuse.progress import Progress
from undiffuse.recipes import build, build_autoencoder
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.reports.files import RECONSTRUCTED
from undiffuse.sampling import items
from undiffuse.sampling.evaluation_request import Bar, Evaluated, EvaluationRequest
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.plan import batches
from undiffuse.sampling.prior_session import PriorSession
from undiffuse.sampling.request import SampleRequest
from undiffuse.storage import blueprint as plans

SHOWN = 10  # items in a row of a preview


class AutoencoderRun(Generator, LatentSpace):
    """A trained autoencoder with its codec: encodes items in the data's own units, and decodes latents to such; draws
    samples where its bottleneck has a prior.

    Fields: see `Run`; shape: of an encoded item, before the encoder.
    """

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "network", "bottleneck", "objective", "train"), True),
        **dict.fromkeys(("optimiser", "init"), False),
    }
    reads: ClassVar[str] = "reconstruction"
    predicts: ClassVar[str] = "reconstruction"
    what: ClassVar[str] = "an autoencoder"
    use: ClassVar[str] = (
        'it encodes and decodes, by `undiffuse.load("{path}").encode(x)` in Python, and `undiffuse evaluate` measures '
        "it"
    )
    rounds: ClassVar[bool] = False  # bfloat16 has as few bits as a pixel
    reconstructs: ClassVar[bool] = True
    writes: ClassVar[tuple[str, ...]] = RECONSTRUCTED

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        codec = recipe.component("codec")
        if codec.tokens or codec.mixed:
            raise Refused(
                f"codec {recipe['codec']['name']!r} is not for values, and autoencoders are: take pixels or whiten"
            )
        name = f"bottleneck {str(recipe['bottleneck'].get('name'))!r}"
        plans.blueprint(partial(build_autoencoder.bottleneck, recipe), name)

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        return build_autoencoder.autoencoder(about.recipe, about.shape)

    @property
    def autoencoder(self) -> Autoencoder:
        """What was trained."""
        return self.module

    @torch.no_grad()
    def encode(self, x: np.ndarray | Tensor, random: Random | None = None) -> Tensor:
        """The latents (n, *latent_shape) of items x (n, *shape) in the data's units: a draw from q(z given x), or for
        None its mode; on the CPU, a few at a time. Raises Refused, as all that takes items, for numbers that the
        run's data do not have and for another shape.
        """
        x = x if isinstance(x, np.ndarray | Tensor) else arguments.array(x, "x")
        items.several(self.codec, x[:1] if x.ndim else x, "x")
        parts = self._parts(len(x))
        found = [self._latents(x[part], random, torch.arange(part.start, part.stop)).cpu() for part in parts]
        return torch.cat(found)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The items (n, *shape), in the data's units and dtype, that latents z (n, *latent_shape) stand for; on z's
        device, a few at a time. Raises Refused for latents of another shape.
        """
        z = arguments.tensor(z, "z")
        parts = (z[part].to(self.device) for part in self._parts(len(z)))
        return torch.cat([self.codec.decode(self.autoencoder.decode(each)).to(z.device) for each in parts])

    def reconstruct(self, x: np.ndarray | Tensor) -> Tensor:
        """x encoded and decoded: items (n, *shape) in the data's units and dtype, on the CPU."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def tokens(self, x: np.ndarray | Tensor) -> Tensor:
        """The tokens, int64 (n, ...), of items x in the data's units; raises Refused without a codebook."""
        autoencoder = self.autoencoder
        moments = (autoencoder.moments(self._encoded(x[part])) for part in self._parts(len(x)))
        return torch.cat([autoencoder.bottleneck.tokens(each).cpu() for each in moments])

    @torch.no_grad()
    def latents_of(self, tokens: Tensor) -> Tensor:
        return self.autoencoder.bottleneck.embed(tokens.to(self.device)).to(tokens.device)

    @property
    def inner(self) -> Codec:
        return self.codec

    @property
    def vocabulary(self) -> int:
        return self.autoencoder.bottleneck.vocabulary

    @property
    def lossless_bound(self) -> bool:
        try:
            return build.objective(self.recipe).density is not None
        except Refused:  # a loss compares by another run, which training alone needs: that is no density
            return False

    @property
    def digest(self) -> str:
        found = blake2b(repr(self.codec).encode(), digest_size=16)
        for name, tensor in self.autoencoder.state_dict().items():
            found.update(name.encode() + tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the latents of encoded items of this shape; raises Refused for items that do not fit."""
        return self.autoencoder.network.latent_shape(shape)

    @torch.no_grad()
    def posterior(self, x: np.ndarray | Tensor) -> Distribution:
        return self.autoencoder.posterior(self._encoded(x, real=True))  # what is not known of an item is half its range

    @torch.no_grad()
    def features(self, z: Tensor) -> list[Tensor]:
        return self.autoencoder.decoder_features(z)

    def log_prob(self, x: np.ndarray | Tensor, z: Tensor) -> Tensor:
        encoded = self._encoded(x)
        of = (self.autoencoder, encoded, z.to(encoded))
        dtype = np.dtype(str(x.dtype).removeprefix("torch."))
        if (steps := levels(self.codec, dtype, tuple(x.shape[1:]))) is not None:
            return build.objective(self.recipe).log_density(*of, steps)
        return build.objective(self.recipe).log_density(*of) + self.codec.log_det(tuple(encoded.shape[1:]))

    def attempt(self) -> None:
        self.autoencoder.network(torch.randn(1, *self.shape, dtype=torch.float32).to(self.autoencoder.last_layer))

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
        from undiffuse import pictures

        made = self.reconstruct(x).numpy()
        if x.ndim == 2:
            return pictures.png(pictures.overview(made, beside=x))
        return pictures.png(pictures.pairs(x, made, SHOWN))

    def evaluate(self, asked: EvaluationRequest) -> Evaluated:
        from undiffuse.evaluation.reconstruction import judge_reconstruction
        from undiffuse.reports.reconstruction_page import ReconstructionReport

        return ReconstructionReport(judge_reconstruction(self, self.prior, asked))

    @property
    def prior(self) -> Normal | None:
        """p(z); None where there is none."""
        return self.autoencoder.bottleneck.prior

    @property
    def draws(self) -> bool:
        return self.prior is not None

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> PriorSession:
        if not self.draws:
            raise Refused(f"{self.what} without a prior of its latents draws nothing: bottleneck.name = 'kl' has one")
        asked = (request or SampleRequest()).updated(options, self.conditions)
        return PriorSession.open(self, asked, self.latent_shape(self.shape), self.decode, progress)

    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        from undiffuse.evaluation.latent_likelihood import ITEMS, bounds

        if self.prior is None or not self.lossless_bound:
            raise Refused(
                "a bound on the likelihood needs bottleneck.name = 'kl' and the loss l1 or l2 alone, with "
                "objective.learned_scale: other losses are no density of the data"
            )
        with bar("bound", "latent") as bounding, bar("importance-weighted bound", "latent") as weighting:
            return bounds(self, self.prior, data.some(ITEMS), seed=seed, bounding=bounding, weighting=weighting)

    def about(self) -> dict[str, str]:
        network = self.autoencoder.network
        return {"latents": " x ".join(map(str, network.latent_shape(self.shape)))}

    def _encoded(self, x: np.ndarray | Tensor, real: bool = False) -> Tensor:
        return self.codec.encode(items.several(self.codec, x, "x", real)).to(self.device)

    def _latents(self, x: np.ndarray | Tensor, random: Random | None, which: Tensor) -> Tensor:
        drawn = None if random is None else random.at(which)
        return self.autoencoder.latents(self.autoencoder.posterior(self._encoded(x)), drawn)

    def _parts(self, count: int) -> list[slice]:
        """Items that are computed together."""
        step = batches(self.shape)
        return [slice(i, min(i + step, count)) for i in range(0, count, step)]
