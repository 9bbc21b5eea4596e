"""Bits per dimension of runs on the same held-out items, with the same noise, and their differences.

    python benchmarks/bits.py runs/digits-ddpm runs/digits-iddpm [--items 200]

The variational bound with each variance that the run has ("posterior", "beta", "learned"), 100 steps of each item, and
the exact value by the ODE, as probabilities of levels given the labels. Items are paired, so that a difference is known
much better than either side.
"""

import argparse
import itertools
import math
from pathlib import Path

import numpy as np
import torch

import undiffuse
from undiffuse import likelihood
from undiffuse.evaluation import sources
from undiffuse.likelihood import Decoder
from undiffuse.models.diffusion import Diffusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [Path("runs/digits-ddpm"), Path("runs/digits-iddpm")]
    parser.add_argument("runs", nargs="*", type=Path, default=usual)
    parser.add_argument("--items", type=int, default=200)
    options = parser.parse_args()
    missing = [str(run) for run in options.runs if not run.exists()]
    if missing:
        print(f"not there yet: {', '.join(missing)}; train them first, for example: undiffuse train digits-iddpm")
        return
    found: dict[str, np.ndarray] = {}
    for run in options.runs:
        model = undiffuse.load(run, precision="float32")
        for name, bits in measured(model, options.items).items():
            found[f"{run.name}, {name}"] = bits
            print(f"{run.name}, {name}: {bits.mean():.3f} +- {error(bits):.3f} bits per dimension", flush=True)
    for one, other in itertools.combinations(found, 2):
        if one.split(",")[0] != other.split(",")[0] and (one.endswith("ODE") == other.endswith("ODE")):
            apart = found[one] - found[other]
            print(f"{one} - {other}: {apart.mean():+.3f} +- {error(apart):.3f}")


def measured(model: Diffusion, items: int) -> dict[str, np.ndarray]:
    """Each number's bits per dimension of each item."""
    held_out = sources.against(model, None).held_out
    few = held_out.take(np.arange(min(items, len(held_out))))
    x, label = model.codec.encode(np.asarray(few.x)), torch.as_tensor(few.labels)
    bits = 1 / (x[0].numel() * math.log(2))
    told = {"decoder": Decoder(), "batch": len(x), "label": label}
    learned = model.denoiser.bound_variance == "learned"
    found: dict[str, np.ndarray] = {}
    for variance in ("posterior", "beta", *(["learned"] if learned else [])):
        bound = likelihood.elbo(model.denoiser, x, variance=variance, subset=100, **told)  # pyright: ignore[reportArgumentType]
        found[f"bound, {variance}"] = bound.nats.numpy() * bits
    found["ODE"] = -likelihood.ode(model.denoiser, x, rtol=1e-3, atol=1e-3, **told).log_prob.numpy() * bits  # pyright: ignore[reportArgumentType]
    return found


def error(values: np.ndarray) -> float:
    """The standard error of the mean."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


if __name__ == "__main__":
    main()
