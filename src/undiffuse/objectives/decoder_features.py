"""Decoder features: a guess of latents is judged by what the autoencoder's decoder makes of it, too."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.families import VALUES
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.timed import Timed

TINY = 1e-6


@dataclass(frozen=True)
class DecoderFeatures(Timed):
    """loss = L + weight [SNR >= snr] mean over layers l and places of |f_l(guess) - f_l(z)|^2 / |f_l(z)|^2.

    L is the base objective's loss, z the latents without noise, f_l the activations of the decoder of the codec's
    autoencoder, which stays as it is; at each place their lengths are over channels. So errors count that can be seen,
    and those that the decoder ignores do not. The second term is about 1 where the guess has nothing of the item.
    base: the denoising objective whose loss L is. snr: at noisier levels the guess is no item but a mean of many, and L
    is alone. Activations far from all others are not left out, as the source does.
    Raises Refused for a weight below 0, an snr that is not above 0, and data that are not the latents of an
    autoencoder. Source: arXiv:2411.04873, sec. 3, with the normalisation of its published code.
    """

    families: ClassVar[frozenset[str]] = VALUES
    aliases: ClassVar[tuple[str, ...]] = ("lpl", "latent_perceptual")

    base: Denoising = field(default_factory=Denoising)
    weight: float = 1.0
    snr: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf or not 0 < self.snr < math.inf:
            raise Refused(
                f"decoder_features needs a weight of 0 or more and an snr above 0, not {self.weight:g} and {self.snr:g}"
            )

    @property
    def times(self) -> TimeDistribution:  # type: ignore[override]
        return self.base.times

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        if batch.codec is None or not batch.codec.lossy:
            raise Refused(
                "decoder_features judges latents by their autoencoder's decoder, and these data have none: take "
                "denoising, or codec.name = 'latent' with a run of kind autoencoder"
            )
        process, z = model.process, batch.x
        guess = model(process.marginal(z, t).sample(random), t, **batch.given)
        loss = self.base.of(guess, z, process.schedule, t)
        clear = process.schedule.log_snr(t) >= math.log(self.snr)
        rows = [i for i, seen in enumerate(clear.tolist()) if seen]
        if not rows or not self.weight:
            return loss
        which = torch.tensor(rows, dtype=torch.int64, device=loss.device)
        found = self.distance(batch.codec, guess.mean[which], z[which])
        return loss.index_add(0, which, self.weight * found.to(loss.dtype))

    def distance(self, codec: Any, guess: Tensor, z: Tensor) -> Tensor:
        """The distance in the decoder, (batch,), of guessed and of true latents."""
        with torch.no_grad():
            wanted = [layer.float() for layer in codec.features(z)]
        pairs = zip(codec.features(guess), wanted, strict=True)
        layers = [(a.float() - b).square().sum(1) / (b.square().sum(1) + TINY) for a, b in pairs]
        return torch.stack([each.reshape(len(z), -1).mean(1) for each in layers]).mean(0)
