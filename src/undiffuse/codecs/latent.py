"""Latents: a trained autoencoder at the edges of a model, with the mean and deviation of what it encodes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import ArrayLike, Codec, as_dtype, as_float, slices
from undiffuse.codecs.latent_tiles import in_rows, in_tiles, latent_tile
from undiffuse.core.errors import Refused
from undiffuse.core.latent_space import LatentSpace
from undiffuse.core.random import Random

LOSSY = "a likelihood of pixels through a lossy codec, 'latent', is not known"


@dataclass(frozen=True)
class Latent(Codec):
    """z = (latent - mean) / std, with latent ~ q(latent given x); decoding is the decoder on z std + mean.

    autoencoder: the run; in a recipe its folder. sampled: latents are drawn from q anew each time that `encode` is
    given random numbers; false: always the mode of q. scale: mean and deviation of each channel, or one scalar of each
    for all. tile: larger items, by this side, are encoded and decoded in overlapping tiles.
    mean, std: as given (std alone: mean 0), else by `fit` of the training data's latents, those that q draws among
    them: std^2 = Var[E[latent given x]] + E[Var[latent given x]]. shape, dtype: of an item of the data.
    Source: arXiv:2112.10752, app. G, which has a scalar deviation, of one batch.
    Raises Refused for items that do not fit the autoencoder, and for an autoencoder of latents.
    """

    lossy: ClassVar[bool] = True
    normalises: ClassVar[bool] = True

    autoencoder: LatentSpace = field(compare=False)  # equal statistics are those of equal weights
    sampled: bool = True
    scale: Literal["channel", "scalar"] = "channel"
    tile: int = 512
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.autoencoder.inner.lossy:
            raise Refused("codec.autoencoder encodes latents of another autoencoder: latents of latents are not made")
        if len(self.mean) not in (0, len(self.std)) or not all(0 < s < math.inf for s in self.std):
            raise Refused(f"latents need as many std as mean, all above 0: mean = {self.mean}, std = {self.std}")
        if self.tile < 16:
            raise Refused(f"codec.tile = {self.tile}: a tile has 16 pixels a side or more")

    @property
    def stamp(self) -> str:
        """What `prepare` depends on besides the items."""
        return f"{self.autoencoder.digest} {self.sampled} {self.tile}"

    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy with the statistics of the latents of x, in float64."""
        return self._measured(x, (self.prepare(part).numpy() for part in slices(x)))

    def fit_prepared(self, x: ArrayLike, prepared: ArrayLike) -> Self:
        return self._measured(x, slices(prepared))

    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """Latents of mean 0 and deviation 1 over the training data; without random numbers those of the mode."""
        return self.finish(self.prepare(x), random)

    @torch.no_grad()
    def prepare(self, x: np.ndarray | Tensor) -> Tensor:
        """Mean and deviation of q(latent given x), below each other along the channels; the mean alone of modes."""
        shape = tuple(x.shape[1:])
        latents, inner = self._latents(shape), self.autoencoder.inner
        device = x.device if isinstance(x, Tensor) else torch.device("cpu")
        if inner.dtype and str(x.dtype).removeprefix("torch.") != inner.dtype:
            given = str(x.dtype).removeprefix("torch.")
            raise Refused(f"the autoencoder was trained on data of {inner.dtype}, and these are of {given}")

        def moments(part: Any) -> Tensor:
            q: Any = self.autoencoder.posterior(part)
            spread = [torch.as_tensor(q.var).sqrt().to(q.mean).expand(q.mean.shape)] if self.sampled else []
            return torch.cat([q.mean, *spread], 1).float().to(device)

        def rows(which: slice) -> Tensor:
            finer = _finer(shape, latents)
            if finer is None or max(shape[1:]) <= self.tile:
                return moments(x[which])

            def one(place: tuple[slice, ...]) -> Tensor:
                wide = (slice(p.start * f, p.stop * f) for p, f in zip(place, finer, strict=True))
                return moments(x[(which, slice(None), *wide)])

            return in_tiles(one, latents[1:], latent_tile(self.tile, finer), (1,) * len(finer)).float()

        return in_rows(rows, len(x), math.prod(shape))

    def finish(self, prepared: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """Latents drawn from what `prepare` gave, normalised."""
        z = self._drawn(torch.as_tensor(prepared), random)
        mean, std = self._statistics(z)
        return (z - mean) / std

    @torch.no_grad()
    def encode_known(self, x: np.ndarray | Tensor, known: Tensor) -> Tensor:
        """Latents of items whose unknown part is the middle of the range, such as grey; those of the mode."""
        inner, shown = self.autoencoder.inner, as_float(x)
        middle = 0.0 if inner.low is None or inner.high is None else (inner.low + inner.high) / 2
        q: Any = self.autoencoder.posterior(torch.where(known.to(shown.device), shown, middle))
        mean, std = self._statistics(q.mean)
        return (q.mean - mean) / std

    def latents(self, x: np.ndarray | Tensor, random: Random | None = None) -> Tensor:
        """The latents of items as the encoder gives them, (count, ...) in float32: a draw, or of None the mode."""
        return self._drawn(self.prepare(x), random)

    @torch.no_grad()
    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The items that the decoder makes of z std + mean, in the data's units and dtype."""
        mean, std = self._statistics(z)
        return self.decoded(z * std + mean)

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Tensor:
        """The items that the decoder makes of latents as the encoder gives them."""
        own, shape = tuple(latents.shape[1:]), self.decoded_shape(tuple(latents.shape[1:]))
        finer = _finer(shape, own)

        def rows(which: slice) -> Tensor:
            part = latents[which]
            if finer is None or max(shape[1:]) <= self.tile:
                return self.autoencoder.decode(part)
            found = in_tiles(
                lambda place: self.autoencoder.decode(part[(..., *place)]),
                own[1:],
                latent_tile(self.tile, finer),
                finer,
            )
            return as_dtype(found, self.autoencoder.inner.dtype)

        return in_rows(rows, len(latents), math.prod(shape))

    def features(self, z: Tensor) -> list[Tensor]:
        """What the decoder computes on its way from z std + mean; gradients pass to z."""
        mean, std = self._statistics(z)
        return self.autoencoder.features(z * std + mean)

    def encoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """That of the latents; raises Refused for items that do not fit the autoencoder."""
        return self._latents(shape)

    def decoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The data's shape, or for larger latents one as much larger."""
        if not self.shape:
            raise self._unfitted()
        own = self._latents(self.shape)
        finer = _finer(self.shape, own)
        if len(shape) != len(own) or shape[0] != own[0] or (finer is None and shape != own):
            raise Refused(f"the autoencoder's latents have the shape {own}, and these are {tuple(shape)}")
        if shape == own or finer is None:
            return self.shape
        return (self.shape[0], *(side * times for side, times in zip(shape[1:], finer, strict=True)))

    def known(self, mask: Tensor) -> Tensor:
        """A latent is known where all numbers are that it stands for, without those around it."""
        own = self._latents(self.shape)
        finer = _finer(self.shape, own)
        rows = mask.shape[: max(0, mask.ndim - len(self.shape))] or (1,)
        whole = mask.float().expand(*rows, *self.shape).amin(1, keepdim=True)
        if finer is None:
            return whole.flatten(1).amin(1).reshape(-1, *(1,) * len(own))
        for axis, times in enumerate(finer, start=2):
            whole = whole.unflatten(axis, (-1, times)).amin(axis + 1)
        return whole

    def log_det(self, shape: tuple[int, ...]) -> float:
        """Raises Refused: many items have the same latents."""
        raise Refused(f"{LOSSY}: decoding brings back another item than was encoded, so that there is no determinant")

    @torch.no_grad()
    def explained(self, x: np.ndarray | Tensor, random: Random) -> tuple[Tensor, Tensor]:
        """z drawn from q(z given x), and log p(x given z) - log q(z given x) in nats, (count,), q being a density of z.

        Added to log p(z) it is a bound on log p(x), in expectation, for a density p of the data in their own units:
        log q(z given x) = log q(latent given x) + sum log std. Equal to it for all z if q is the posterior.
        Raises Refused where the decoder is no density, and where q is none.
        """
        if why := self.no_density():
            raise Refused(why)
        q: Any = self.autoencoder.posterior(x)
        latents = q.sample(random)
        if q.certain:
            raise Refused(f"{LOSSY}: its latents are certain, and have no density")
        mean, std = self._statistics(latents)
        scale = latents[0].numel() / len(self.std) * sum(map(math.log, self.std))
        nats = self.autoencoder.log_prob(x, latents) - q.log_prob(latents) - scale
        return (latents - mean) / std, nats

    def no_density(self) -> str:
        return "" if self.autoencoder.lossless_bound else f"{LOSSY}: its decoder is no normalised density of the data"

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """A copy with these statistics."""
        scale: Any = "channel" if len(std) == self._latents(self.shape)[0] else "scalar"
        return replace(self, mean=tuple(mean), std=tuple(std), scale=scale)

    def _drawn(self, prepared: Tensor, random: Random | None) -> Tensor:
        channels = self._latents(self.shape)[0]
        z, spread = prepared[:, :channels], prepared[:, channels:]
        if random is None or not spread.shape[1]:
            return z
        return z + spread * random.normal(tuple(z.shape), device=z.device)

    def _measured(self, x: ArrayLike, parts: Iterable[np.ndarray]) -> Self:
        """A copy with the statistics of these parts, joined as in `whiten.moments`."""
        shape = tuple(x.shape[1:])
        channels = self._latents(shape)[0]
        count, mean, square = 0, np.zeros(1), np.zeros(1)
        for part in parts:
            values, spread = np.split(np.asarray(part, np.float64), [channels], axis=1)
            axes = tuple(i for i in range(values.ndim) if i != 1 or self.scale == "scalar")
            n = values.size // (1 if self.scale == "scalar" else channels)
            part_mean, part_square = values.mean(axes), values.var(axes) * n
            part_square += np.square(spread).sum(axes) if spread.size else 0.0
            apart = part_mean - mean
            square = square + part_square + apart**2 * (count * n / (count + n))
            mean = mean + apart * (n / (count + n))
            count += n
        std = np.sqrt(square / count).reshape(-1)
        std = np.where(std > 0, std, 1.0)
        if self.std and len(self.std) != len(std):
            raise Refused(
                f"codec.std has {len(self.std)} numbers, and by codec.scale = {self.scale!r} latents have {len(std)}"
            )
        known = {"mean": tuple(mean.reshape(-1).tolist()), "std": tuple(std.tolist())}
        if self.std:
            known = {"mean": self.mean or (0.0,) * len(self.std), "std": self.std}
        return replace(self, shape=shape, dtype=x.dtype.name, **known)

    def _statistics(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, to stand before height and width."""
        if not self.std:
            raise self._unfitted()
        if self.scale == "channel" and len(self.std) != z.shape[1]:
            raise Refused(f"latents have {len(self.std)} channels, and z has shape {tuple(z.shape)}")
        mean, std = (torch.tensor(m, dtype=z.dtype, device=z.device) for m in (self.mean, self.std))
        return mean.view(-1, *(1,) * (z.ndim - 2)), std.view(-1, *(1,) * (z.ndim - 2))

    def _latents(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if not shape:
            raise self._unfitted()
        return self.autoencoder.latent_shape(shape)

    def _unfitted(self) -> Refused:
        return Refused("the latents have no statistics: call fit(x) with the training data first")


def _finer(shape: tuple[int, ...], latents: tuple[int, ...]) -> tuple[int, ...] | None:
    """How many times longer each side of an item is than that of its latents; None where these have no such sides."""
    sides, own = shape[1:], latents[1:]
    if not own or len(own) != len(sides) or any(a % b for a, b in zip(sides, own, strict=True)):
        return None
    return tuple(a // b for a, b in zip(sides, own, strict=True))
