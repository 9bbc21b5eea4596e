"""Data to latents and back, by an autoencoder's run or by a model of latents."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.latent import Latent
from undiffuse.core.errors import Refused
from undiffuse.core.latent_space import LatentSpace
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.data.rows import chunk
from undiffuse.progress import Advance
from undiffuse.sampling.made_by import MadeBy
from undiffuse.sampling.run import Run


def encode(
    run: Run, data: Dataset, name: str, seed: int | None = None, advance: Advance = lambda done, total: None
) -> tuple[np.ndarray, MadeBy]:
    """The latents of a data set, (count, ...) in float32, and what they are; name: of the run's folder.

    Of an autoencoder as its encoder gives them, with their statistics; of a model of latents as it sees them, which is
    normalised. seed: draws them from q(latent given x); None: its mode. Raises Refused for other runs, and for data
    that do not fit.
    """
    codec = _codec(run, name)
    random, found = None if seed is None else Random(seed), list[np.ndarray]()
    step = chunk(data.x)
    for start in range(0, len(data), step):
        x = np.asarray(data.x[start : start + step])
        drawn = None if random is None else random.at(torch.arange(start, start + len(x)))
        found.append((codec.encode if codec.std else codec.latents)(x, drawn).numpy())
        advance(start + len(x), len(data))
    latents = np.concatenate(found)
    known = codec if codec.std else codec.fit_prepared(data.x, latents)
    return latents, MadeBy(name, codec.autoencoder.digest, bool(codec.std), known.mean, known.std)


def decode(run: Run, data: Dataset, name: str, advance: Advance = lambda done, total: None) -> Tensor:
    """The items, in the data's own units, that the latents of a data set stand for.

    Latents that are known to be normalised are brought back by the statistics beside them; others are taken for such as
    the encoder gives. Raises Refused for latents of another autoencoder, of another shape, and, of a model of latents,
    for those that were normalised by other statistics.
    """
    codec = _codec(run, name)
    made = MadeBy.of(data.notes)
    if made is not None and made.digest != codec.autoencoder.digest:
        raise Refused(f"{data.name} holds latents of {made.run}, whose autoencoder is another one than that of {name}")
    back: Any = codec.decoded
    if made is not None and made.normalised:
        if codec.std and (codec.mean, codec.std) != (made.mean, made.std):
            raise Refused(f"{data.name} holds latents that were normalised by other statistics than those of {name}")
        back = codec.normalised_by(made.mean, made.std).decode
    step = max(1, chunk(data.x) // max(1, math.prod(codec.shape) // math.prod(data.shape)))
    found: list[Tensor] = []
    for start in range(0, len(data), step):
        found.append(back(torch.as_tensor(np.asarray(data.x[start : start + step], np.float32))).cpu())
        advance(start + len(found[-1]), len(data))
    return torch.cat(found)


def _codec(run: Run, name: str) -> Latent:
    """The codec of a model of latents, or one without statistics of an autoencoder's run."""
    codec: Any = run.codec
    if codec.lossy and not codec.tokens:
        return codec
    try:
        space: Any = codec.autoencoder if codec.lossy else run.part(LatentSpace, name)
    except Refused:
        raise Refused(
            f"{name} holds {run.what}, which has no latents: encode and decode take the run of an autoencoder, such as "
            "undiffuse train mnist-vae makes, or a model of latents"
        ) from None
    return Latent(space, shape=run.data_shape, dtype=codec.dtype)
