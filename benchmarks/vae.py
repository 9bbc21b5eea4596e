"""A variational autoencoder beside a diffusion model of equal size, each trained for the same time on the same items.

    python benchmarks/vae.py DATA.npz [--minutes 5] [--samples 1000] [--out runs/vae-beside] [--clock cpu]

Trains the recipe `mnist-vae` with 2 and with 20 latents, and the U-Net of the recipe `mnist` without labels, for so
many minutes each: as many steps as a short trial says fit; with `--clock cpu` these are minutes of the process,
whatever else the machine does. Then it draws samples of the same seed from each and prints the sizes, the Frechet
distance and precision and recall in pixels beside their floors, bits per dimension of the same held-out items as
probabilities of grey levels (the variational bound of both kinds, the importance-weighted one of the VAE, the ODE's
value of the diffusion model), and what samples cost.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import undiffuse
from undiffuse.evaluation.compare import Comparison, compare
from undiffuse.evaluation.judge import Judge
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.request import SampleRequest

TRIAL = 20  # steps, of which the second half is timed
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
QUIET = ("train.preview_every=0", "train.validate_every=0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("mnist.npz"))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("runs/vae-beside"))
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    if not options.data.exists():
        print(f"not there: {options.data}; an .npz of images (count, 28, 28), as the recipe mnist says where to get")
        return
    recipes = {f"vae-{count}": vae(options.data, count) for count in (2, 20)} | {"diffusion": diffusion(options.data)}
    for name, recipe in recipes.items():
        train(recipe, options.out / name, options.minutes, CLOCKS[options.clock])
    paths = [options.out / name for name in recipes]
    models: list[Any] = [undiffuse.load(path, precision="float32") for path in paths]
    how = Judge(metrics=("frechet", "precision_recall", "nll"))
    found = compare(paths, models, EvaluationRequest(request=SampleRequest(n=options.samples), how=how))
    show(found, options.minutes)


def vae(data: Path, latents: int) -> Recipe:
    """The first variational autoencoder, with so many latents."""
    return Recipe.find("mnist-vae").override([f"data.path={data}", f"network.latent_channels={latents}", *QUIET])


def diffusion(data: Path) -> Recipe:
    """The U-Net of the recipe `mnist`, without bounds, which cost likelihood."""
    return unlabelled("mnist").override([f"data.path={data}", "denoiser.bounded=false", *QUIET])


def unlabelled(name: str) -> Recipe:
    """A recipe which is told no labels and so needs no guidance."""
    recipe = Recipe.find(name)
    sampler = {name: value for name, value in recipe["sampler"].items() if name != "guidance"}
    plain = {"conditions": {}} if "conditions" in recipe.tables else {}
    return recipe.with_tables(**plain, **({"sampler": sampler} if sampler else {}))


def train(recipe: Recipe, folder: Path, minutes: float, clock: Callable[[], float]) -> None:
    """A run in the folder, trained for so many minutes; one that is there already stays."""
    if (folder / "model.safetensors").exists():
        return
    with tempfile.TemporaryDirectory() as place:
        started, half = 0.0, TRIAL // 2
        for numbers in undiffuse.train(recipe.override([f"train.steps={TRIAL}"]), out=Path(place) / "trial"):
            started = clock() if numbers["step"] == half else started
        seconds = (clock() - started) / half
    steps = max(TRIAL, int(60 * minutes / seconds))
    warm = min(recipe["train"].get("warmup", 100), steps // 10)
    settings = [f"train.steps={steps}", f"train.checkpoint_every={steps}", f"train.warmup={warm}"]
    undiffuse.train(recipe.override(settings), out=folder).run()


def show(found: Comparison, minutes: float) -> None:
    """One row a number, one column a run."""
    runs = found.runs
    likelihoods = [run.likelihood or {} for run in runs]
    floors = runs[0].judged.verdicts
    rows = {
        "parameters": [f"{run.costs['parameters']:,}" for run in runs],
        f"steps in {minutes:g} minutes": [f"{run.costs['step']:,}" for run in runs],
        **{
            f"{name} (floor {floors[name]['floor']:.3g})": [f"{run.judged.verdicts[name]['value']:.3g}" for run in runs]
            for name in found.names
        },
        **{
            f"bits per dimension, {name}": [
                f"{each[name]['bits_per_dim']:.3f}" if name in each else "-" for each in likelihoods
            ]
            for name in ("bound", "importance", "ode")
        },
        "network calls a sample": [f"{run.costs['network_calls']:g}" for run in runs],
        f"seconds for {found.about['count']:,} samples": [f"{run.costs['seconds']:.3g}" for run in runs],
    }
    print(f"| | {' | '.join(run.name for run in runs)} |\n|---|{'---|' * len(runs)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
