"""Training speed: beside a bare PyTorch loop of the same network and precision, and beside diffusers' training loop.

    python benchmarks/training.py [--pairs 5] [--steps 4] [--no-compile]

A U-Net of 1.1 million parameters on 32 x 32 colour images, batch 64, DDPM's objective. Ours is the whole run: data from
a file, averages of the weights, log, TensorBoard, checkpoints. The bare loop has the network, the loss, AdamW and data
in memory, and nothing else. diffusers' is its unconditional training example (UNet2DModel with the same weights,
DDPMScheduler, accelerate, AdamW, a DataLoader of PIL images), once as it is and once with torch.compile. Blocks of
steps alternate; medians of the pairs' ratios.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import undiffuse
from undiffuse.networks.precision import pick
from undiffuse.networks.unet import UNet
from undiffuse.training.loop import Training
from undiffuse.training.start import train

diffusers: Any = importlib.import_module("diffusers")

Turns = Iterator[float] | Training[Any]
BATCH, IMAGES = 64, 1024
NETWORK: dict[str, Any] = {"width": 16, "multipliers": [1, 3, 5], "blocks": 1, "attention": [2], "groups": 8}
RECIPE: dict[str, Any] = {
    "data": {"name": "file"},
    "codec": {"name": "pixels"},
    "schedule": {"name": "linear_beta"},
    "network": {"name": "unet", **NETWORK},
    "parameterization": {"name": "noise"},
    "objective": {"name": "denoising", "weighting": "noise", "times": "uniform"},
    "train": {"steps": 10**6, "batch": BATCH, "lr": 1e-4, "checkpoint_every": 100, "preview_every": 0},
}


def ours(folder: Path, name: str, *settings: str) -> Training[Any]:
    """A whole run."""
    return train(RECIPE, out=folder / name, overrides=[f"data.path={folder / 'images.npz'}", *settings])


def bare(images: np.ndarray, precision: str) -> Iterator[float]:
    """The loop that everyone writes first."""
    network = UNet(channels=3, **NETWORK)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    alphas = (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)
    half = pick(precision, torch.device("cpu"), network) is torch.bfloat16
    while True:
        x_0, t = x[torch.randint(len(x), (BATCH,))], torch.randint(1000, (BATCH,))
        noise, signal = torch.randn_like(x_0), alphas[t].view(-1, 1, 1, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext():
            guess = network(signal.sqrt() * x_0 + (1 - signal).sqrt() * noise, t.float())
            loss = F.mse_loss(guess.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        yield loss.item()


class Pictures(torch.utils.data.Dataset[Tensor]):
    """PIL images with the example's transforms: to [-1, 1], mirrored half of the time."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = [Image.fromarray(image) for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        x = torch.from_numpy(np.array(self.images[index].convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
        return x.flip(-1) if torch.rand(()) < 0.5 else x


def peers(folder: Path, images: np.ndarray, compiled: bool) -> Iterator[float]:
    """diffusers' unconditional training example."""
    model = diffusers.UNet2DModel.from_pretrained(folder / "peer")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    loader = torch.utils.data.DataLoader(Pictures(images), batch_size=BATCH, shuffle=True)
    accelerator, schedule = (
        Accelerator(),
        diffusers.optimization.get_scheduler("cosine", optimiser, num_warmup_steps=500, num_training_steps=10**6),
    )
    model, optimiser, loader, schedule = accelerator.prepare(model, optimiser, loader, schedule)
    if compiled:
        model = torch.compile(model)
    model.train()
    while True:
        for clean in loader:
            noise, t = torch.randn_like(clean), torch.randint(1000, (len(clean),))
            with accelerator.accumulate(model):
                loss = F.mse_loss(model(scheduler.add_noise(clean, noise, t), t).sample.float(), noise.float())
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                optimiser.zero_grad()
            yield loss.item()


def ratio(title: str, one: Turns, other: Turns, pairs: int, steps: int) -> None:
    """Alternate blocks of steps; print both speeds and the median ratio of the times, other over one."""
    times: list[tuple[float, float]] = []
    for _ in range(pairs + 1):
        pair = []
        for turn in (one, other):
            started = time.perf_counter()
            for _ in range(steps):
                next(turn)
            pair.append((time.perf_counter() - started) / steps)
        times.append((pair[0], pair[1]))
    times = times[1:]  # the first warms up, or compiles
    speeds = [BATCH / statistics.median(side) for side in zip(*times, strict=True)]
    found = statistics.median(b / a for a, b in times)
    print(f"{title:<58} {speeds[0]:7.1f} {speeds[1]:7.1f} images/s   {found:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="in a block")
    parser.add_argument("--no-compile", action="store_true")
    given = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / "images.npz", images=images)
        network = UNet(channels=3, **NETWORK)
        network.to_diffusers(folder / "peer", sample_size=32)
        print(f"parameters: {sum(p.numel() for p in network.parameters()):,}; undiffuse {undiffuse.__version__}")
        print("the run's overhead: time of a step of a whole run over one of the bare loop (1 = none)")
        for precision in ("float32", "auto"):
            loop, run = bare(images, precision), ours(folder, f"bare-{precision}", f"train.precision={precision}")
            ratio(f"  {precision}: bare, whole run", loop, run, given.pairs, given.steps)
        print("against diffusers: its time of a step over ours (more is better)")
        for compiled in (False, True)[: 1 if given.no_compile else 2]:
            for precision in ("float32", "auto"):
                setting = f"train.compile={str(compiled).lower()}"
                run = ours(folder, f"peer-{precision}-{compiled}", f"train.precision={precision}", setting)
                loop = peers(folder, images, compiled)
                title = f"  {'both compiled' if compiled else 'not compiled'}, ours in {precision}: ours, diffusers"
                ratio(title, run, loop, given.pairs, given.steps)


if __name__ == "__main__":
    main()
