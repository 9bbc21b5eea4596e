"""Every family of generative models on the same items, each trained for the same time: one table.

    python benchmarks/families.py [--data FILE.npz] [--minutes 1] [--clock cpu] [--samples 300] [--items 64]

On the digits that are bundled: a fully visible belief network, PixelCNN, PixelRNN, a normalizing flow, a variational
autoencoder, a GAN, D3PM, masked diffusion, DDPM by its bound, a diffusion model by its ODE, and a flow map of two steps
from data alone. On other images, by --data: PixelCNN, the variational autoencoder and the diffusion model. None is told
labels. Each takes as many steps as a short trial says fit; with `--clock cpu` minutes and seconds are those of the
process, whatever else the machine does. Bits per dimension are of the same held-out items, as probabilities of the
levels that the data have (17 of the digits, 256 of other images): exact, or by a bound, the lower one of several.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vae import CLOCKS, train, unlabelled

import undiffuse
from undiffuse import likelihood
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import sources
from undiffuse.evaluation.judge import Judge
from undiffuse.likelihood import Decoder
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe

EVEN = {"train.preview_every": 0, "train.validate_every": 0, "train.held_out": 0.2}
LESS = {"network.width": 32}
STEPS = {"sampler.steps": 100}
Bits = Callable[[Any, Tensor, int], Mapping[str, Tensor]]  # (run, encoded items, levels) -> by what, nats of each


@dataclass(frozen=True)
class Family:
    """A recipe with settings, and what says how likely the run finds items; None: nothing does."""

    recipe: str
    settings: Mapping[str, Any]
    nats: Bits | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="an .npz of images; without it the digits")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    options = parser.parse_args()
    clock = CLOCKS[options.clock]
    print("| family | parameters | steps | bits per dimension | distance / floor | seconds for 1,000 samples |")
    print("|---|---|---|---|---|---|")
    for name, family in (DIGITS if options.data is None else IMAGES).items():
        folder = options.out / name.replace(" ", "-").replace(",", "")
        train(recipe(family, options.data), folder, options.minutes, clock)
        run: Any = undiffuse.load(folder, precision="float32")
        print(row(name, family, run, options, clock), flush=True)


def recipe(family: Family, data: Path | None) -> Recipe:
    """The family's recipe on the data, which is told no labels and so needs no guidance."""
    settings = dict(family.settings) | EVEN
    source = ["data.name=digits"] if data is None else ["data.name=file", f"data.path={data}"]
    return unlabelled(family.recipe).override([*source, *(f"{name}={value}" for name, value in settings.items())])


def row(name: str, family: Family, run: Any, options: argparse.Namespace, clock: Callable[[], float]) -> str:
    """A family's line of the table."""
    real = sources.of_run(run)
    started = clock()
    drawn = run.sample(options.samples)
    seconds = (clock() - started) * 1000 / options.samples
    found = Judge(metrics=("frechet",))(drawn.numpy(), real).verdicts["frechet"]
    cells = [
        f"{sum(p.numel() for p in run.module.parameters()):,}",
        f"{run.facts['step']:,}",
        "-" if family.nats is None else bits(family.nats, run, real.held_out.some(options.items), real.train),
        f"{found['value'] / found['floor']:.2f}",
        f"{seconds:.3g} ({drawn.calls:g} calls)",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def bits(nats: Bits, run: Any, few: Dataset, learned: Dataset) -> str:
    """The mean over the items, its standard error, and by what it was found."""
    levels = len(np.unique(learned.x)) if learned.name == "digits" else 256
    x = run.codec.encode(np.asarray(few.x))
    with torch.no_grad():
        by = {how: each.double() / (x[0].numel() * math.log(2)) for how, each in nats(run, x, levels).items()}
    how = min(by, key=lambda name: float(by[name].mean()))
    each = by[how]
    return f"{float(each.mean()):.3f} +- {float(each.std() / len(each) ** 0.5):.3f} ({how})"


def exact(run: Any, x: Tensor, levels: int) -> Mapping[str, Tensor]:
    """Of an autoregressive run."""
    return {"exact": -run.module.log_prob(x)}


def dequantised(run: Any, x: Tensor, levels: int) -> Mapping[str, Tensor]:
    """Of a normalizing flow, by 16 draws of the noise."""
    return {"bound": -torch.stack([run.module.log_prob(x, Random(0).fold(i)) for i in range(16)]).mean(0)}


def variational(run: Any, x: Tensor, levels: int) -> Mapping[str, Tensor]:
    """Of a variational autoencoder, by 64 latents an item."""
    objective, decoder = build.objective(run.recipe), Decoder(levels=levels)
    model = run.autoencoder
    vae = likelihood.HierarchicalVAE(
        (model.posterior,), lambda x, z: objective.log_density(model, x, z, decoder), run.prior
    )
    return {"importance-weighted bound": likelihood.importance_weighted(vae, x, 64)}


def tokens(run: Any, x: Tensor, levels: int) -> Mapping[str, Tensor]:
    """Of a diffusion model of tokens."""
    return {"bound": likelihood.elbo(run.denoiser, x, subset=100).nats}


def bound(run: Any, x: Tensor, levels: int) -> Mapping[str, Tensor]:
    """Of a diffusion model of values, with the better of two variances of the reverse step."""
    of: dict[str, Any] = {"decoder": Decoder(levels=levels), "subset": 100}
    return {
        f"bound, {name}": likelihood.elbo(run.denoiser, x, variance=name, **of).nats for name in ("beta", "posterior")
    }


def ode(run: Any, x: Tensor, levels: int) -> Mapping[str, Tensor]:
    """Of a diffusion model of values, by the probability-flow ODE."""
    found = likelihood.ode(run.denoiser, x, decoder=Decoder(levels=levels), rtol=1e-3, atol=1e-3)
    return {"ODE": -found.log_prob}


VAE = {"network.latent_channels": 8, "objective.levels": 17}
DIGITS = {
    "fully visible belief network": Family("digits-fvbn", {}, exact),
    "PixelCNN": Family("digits-pixelcnn", {}, exact),
    "PixelRNN": Family("digits-pixelrnn", {}, exact),
    "normalizing flow": Family("digits-flow", {}, dequantised),
    "variational autoencoder": Family("mnist-vae", VAE, variational),
    "GAN": Family("digits-gan", {}, None),
    "D3PM": Family("digits-d3pm", LESS | STEPS, tokens),
    "masked diffusion": Family("digits-d3pm", LESS | STEPS | {"process.kind": "mask"}, tokens),
    "DDPM": Family("digits-ddpm", LESS | STEPS, bound),
    "diffusion, ODE": Family("digits", LESS, ode),
    "flow map, 2 steps": Family("digits-meanflow", {}, None),
}
IMAGES = {
    "PixelCNN": Family("mnist-pixelcnn", {}, exact),
    "variational autoencoder": Family("mnist-vae", {"network.latent_channels": 20}, variational),
    "diffusion, ODE": Family("mnist", {"denoiser.bounded": "false"}, ode),  # bounds cost likelihood
}


if __name__ == "__main__":
    main()
