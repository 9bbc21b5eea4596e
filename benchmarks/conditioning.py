"""Ways to condition a DiT, its switches, and a U-Net of equal cost, trained for equal time, in one table.

    python benchmarks/conditioning.py --data mnist.npz [--minutes 5] [--seeds 0,1] [--samples 1000] [--variants ...]
        [--clock cpu]

Each variant is the recipe with other settings of its network; the number of steps is what fits the time, by the pace of
a few steps before, so that the learning rate decays to its end; with `--clock cpu` minutes are those of the process,
whatever else the machine does. Validation loss is that of the training run's last weights on held-out items; the
Frechet distance is that of pixels in [-1, 1] between samples and as many held-out items, beside its floor between two
halves of these. Printed as Markdown, a row each, the seeds between slashes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import undiffuse
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.models.diffusion import Diffusion
from undiffuse.recipes.recipe import Recipe

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PACE = 6  # steps before, of which the last half is timed
PLAIN: dict[str, Any] = {  # the paper's choices
    "conditioning": "adaln_zero",
    "positions": "sine",
    "qk_norm": False,
    "norm": "layer",
    "activation": "gelu",
    "long_skips": False,
}
ALL: dict[str, Any] = {
    "positions": "rotary",
    "qk_norm": True,
    "norm": "rms",
    "activation": "swiglu",
    "long_skips": True,
}
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"conditioning": name} for name in ("adaln_zero", "adaln", "cross_attention", "in_context")},
    **{name: {name: value} for name, value in ALL.items()},
    "drop_tokens": {"drop_tokens": 0.5},
    "all": ALL,
}
UNET: dict[str, Any] = {"name": "unet", "width": 20, "multipliers": [1, 3, 5], "blocks": 1, "attention": [2]}
USUAL = ("adaln_zero", "adaln", "cross_attention", "in_context", "long_skips", "activation", "drop_tokens", "unet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mnist-dit")
    parser.add_argument("--data", help="an .npz of images and labels")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--variants", default=",".join(USUAL), help=f"of {', '.join([*VARIANTS, 'unet'])}")
    parser.add_argument("--set", action="append", default=[], help="a setting of every variant, as of undiffuse train")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    if options.data is None:
        print("give --data FILE.npz with images and labels; undiffuse train mnist-dit says where to get it")
        return
    print("| network | numbers | MFLOPs an image | steps | milliseconds a step | validation loss | Frechet distance |")
    print("|---|---|---|---|---|---|---|", flush=True)
    clock = CLOCKS[options.clock]
    for name in options.variants.split(","):
        given, found = [f"data.path={options.data}", *options.set], []
        for seed in options.seeds.split(","):
            settings = [*given, f"train.seed={seed}"]
            found.append(trained(tables(options.recipe, name), settings, 60 * options.minutes, options.samples, clock))
        print(f"| `{name}` | {' | '.join(' / '.join(dict.fromkeys(column)) for column in zip(*found, strict=True))} |")
    print(f"\n{options.minutes:g} minutes each, `{options.recipe}`, {torch.get_num_threads()} threads")


def tables(recipe: str, variant: str) -> dict[str, Any]:
    """The recipe with the network of a variant."""
    found = dict(Recipe.find(recipe).tables)
    network = found["network"]
    same = {"time_scale": network.get("time_scale", 1.0)}
    return found | {"network": UNET | same if variant == "unet" else {**network, **PLAIN, **VARIANTS[variant]}}


def trained(
    recipe: dict[str, Any], settings: Sequence[str], seconds: float, samples: int, clock: Callable[[], float]
) -> tuple[str, ...]:
    """A row of the table, of one seed."""
    quiet = ["train.preview_every=0", "train.validate_every=0", "train.checkpoint_every=100000", "train.snapshots=0"]
    with tempfile.TemporaryDirectory() as folder:
        first = undiffuse.train(recipe, out=Path(folder, "pace"), overrides=[*settings, *quiet, f"train.steps={PACE}"])
        times = [clock() for _ in first]
        pace = (times[-1] - times[PACE // 2 - 1]) / (PACE - PACE // 2)
        steps = max(round(seconds / pace), 2)
        last = [f"train.steps={steps}", f"train.validate_every={steps}", f"train.warmup={min(100, steps // 5)}"]
        training = undiffuse.train(recipe, out=Path(folder, "run"), overrides=[*settings, *quiet, *last])
        *_, numbers = training
        model = undiffuse.load(Path(folder, "run"))
        distance = of_pixels(model, samples) if samples else "-"
        size, flops = sum(p.numel() for p in model.denoiser.parameters()), cost(model)
    loss = numbers["validation_loss"]
    return f"{size:,}", f"{flops / 1e6:.0f}", f"{steps:,}", f"{1000 * pace:.0f}", f"{loss:.4f}", distance


@torch.no_grad()
def cost(model: Diffusion) -> int:
    """Floating-point operations of the network for one image."""
    weight = next(model.denoiser.parameters())
    with FlopCounterMode(display=False) as counter:
        model.denoiser(torch.zeros(1, *model.shape, device=weight.device), 0.5)
    return counter.get_total_flops()


def of_pixels(model: Diffusion, count: int) -> str:
    """The Frechet distance of samples from held-out items, and its floor."""
    held_out = np.asarray(sources.against(model, None).held_out.x)
    real = scaled(held_out[np.random.default_rng(0).permutation(len(held_out))[: 2 * count]])
    classes: dict[str, Any] = {"label": np.arange(count) % len(model.classes)} if model.classes else {}
    drawn = scaled(np.asarray(model.sample(count, **classes)))
    half = len(real) // 2
    return f"{frechet(drawn, real[:half]):.2f} (floor {frechet(real[half:], real[:half]):.2f})"


def scaled(x: np.ndarray) -> np.ndarray:
    """Bytes as numbers in [-1, 1], one row an item."""
    return x.reshape(len(x), -1).astype(np.float64) / 127.5 - 1


if __name__ == "__main__":
    main()
