"""Digits of 17 grey levels as tokens and as values, in one table: bits per dimension and Frechet distance.

    python benchmarks/levels.py [runs/digits-d3pm-gaussian runs/digits-ddpm ...] [--items 200] [--samples 1000]

Bits are the variational bound of held-out digits given their labels, as probabilities of the levels that the data have:
tokens name them, and a model of values is asked for the bin of each. Its reverse variance is the better one of those
that it has. All runs see the same digits. The Frechet distance is that of pixels in [-1, 1] between samples and all
real digits; the floor is between two random halves of these. Differences from the first run are paired by digit.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import undiffuse
from undiffuse import likelihood
from undiffuse.core import registry
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.likelihood import Decoder
from undiffuse.models.diffusion import Diffusion

USUAL = [Path("runs") / f"digits-{name}" for name in ("d3pm-gaussian", "d3pm-mask", "d3pm-uniform", "ddpm")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, default=USUAL)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    missing = [str(run) for run in options.runs if not run.exists()]
    if missing:
        example = "undiffuse train digits-d3pm --set process.kind=mask --out runs/digits-d3pm-mask"
        print(f"not there yet: {', '.join(missing)}; train them first, for example: {example}")
        return
    models = {run.name: undiffuse.load(run, precision="float32") for run in options.runs}
    data = registry.build("data", next(iter(models.values())).recipe["data"]).load()
    real = scaled(np.asarray(data.x))
    halves = np.array_split(np.random.default_rng(0).permutation(len(real)), 2)
    print(f"{len(real):,} digits, two halves: Frechet distance {frechet(real[halves[0]], real[halves[1]]):.3f}")
    print(f"{'run':28} {'bits per dimension':22} {'minus the first':18} Frechet")
    first = None
    for name, model in models.items():
        few = sources.against(model, None).held_out
        bits, variance = bound(model, few.take(np.arange(min(options.items, len(few)))), len(np.unique(data.x)))
        first = bits if first is None else first
        classes = np.arange(options.samples) % len(model.classes)
        distance = frechet(scaled(np.asarray(model.sample(options.samples, label=classes))), real)
        title = f"{name} ({variance})" if variance else name
        print(f"{title:28} {said(bits):22} {said(bits - first, '+'):18} {distance:.3f}", flush=True)


def bound(model: Diffusion, few: Dataset, levels: int) -> tuple[np.ndarray, str]:
    """Bits per dimension of each item, (count,), and the variance of the reverse step, "" for tokens."""
    found = {variance: nats.numpy() for variance, nats in each(model, few, levels)}
    best = min(found, key=lambda variance: found[variance].mean())
    return found[best] / (math.prod(model.shape) * math.log(2)), best


def each(model: Diffusion, few: Dataset, levels: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The bound in nats of each item, with each variance that the model has."""
    x = model.codec.encode(np.asarray(few.x))
    told = {"label": torch.as_tensor(few.labels), "batch": len(x)}
    if not x.is_floating_point():
        yield "", likelihood.elbo(model.denoiser, x, subset=100, **told).nats
        return
    learned = model.denoiser.bound_variance == "learned"
    for variance in ("posterior", "beta", *(["learned"] if learned else [])):
        decoder = Decoder(levels=levels)
        yield variance, likelihood.elbo(model.denoiser, x, decoder=decoder, variance=variance, subset=100, **told).nats  # pyright: ignore[reportArgumentType]


def scaled(x: np.ndarray) -> np.ndarray:
    """Bytes as numbers in [-1, 1], one row an item."""
    return x.reshape(len(x), -1).astype(np.float64) / 127.5 - 1


def said(values: np.ndarray, sign: str = "") -> str:
    """The mean and its standard error."""
    return f"{values.mean():{sign}.3f} +- {values.std(ddof=1) / len(values) ** 0.5:.3f}"


if __name__ == "__main__":
    main()
