"""What classifier-free guidance costs, and its time beside a guided loop of diffusers on the same weights.

    python benchmarks/guidance.py [--pairs 3] [--steps 10] [--batch 8]

The U-Net is a class-conditional one of DDPM's CIFAR-10 kind with a quarter of the width, saved by diffusers and read by
both sides; its null class has a zero embedding, as ours. Runs alternate; medians of the pairs.
call: a guided call over a plain one on a batch twice as large. interval: guided sampling with an interval that holds
40 % of the steps, over the same without guidance. diffusers: a loop of `UNet2DModel` on the doubled batch and
`DDIMScheduler.step`, over ours at its default precision and in float32. PSNR is between the final images.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import undiffuse
from undiffuse.guidance import ClassifierFree
from undiffuse.networks.precision import pick, place
from undiffuse.networks.unet import UNet

diffusers: Any = importlib.import_module("diffusers")

NULL = 10
UNET: dict[str, Any] = {
    "sample_size": 32,
    "layers_per_block": 2,
    "block_out_channels": (32, 64, 64, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "attention_head_dim": None,
    "num_class_embeds": NULL + 1,
}
WEIGHT = 2.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    schedule = undiffuse.schedules.LinearBeta()
    shape = (options.batch, 3, 32, 32)
    label = torch.arange(options.batch) % NULL
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        torch.manual_seed(0)
        peer = diffusers.UNet2DModel(**UNET).eval()
        peer.class_embedding.weight[NULL] = 0
        peer.save_pretrained(folder)
        for precision in ("auto", "float32"):
            network = UNet.from_diffusers(Path(folder))
            denoiser = undiffuse.Predictor(network, undiffuse.Gaussian(schedule), "noise").eval().requires_grad_(False)
            place(denoiser, pick(precision, torch.device("cpu"), denoiser), torch.device("cpu"))
            guided = ClassifierFree(denoiser, weight=WEIGHT)
            times = undiffuse.grids.Trailing()(schedule, options.steps)
            levels = (-0.5 * schedule.log_snr(times)).exp()
            first = 3 * options.steps // 10  # the guided steps are 40 % of all, in the middle
            interval = (float(levels[first + 4 * options.steps // 10]), float(levels[first]))
            some = ClassifierFree(denoiser, weight=WEIGHT, interval=interval)
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            plan: dict[str, Any] = {"sampler": undiffuse.samplers.DDIM(), "times": times, "start": x, "label": label}

            def ours(which: Any, plan: dict[str, Any] = plan) -> Tensor:
                return undiffuse.sample(which, shape, **plan)

            twice, labels = torch.cat([x, x]), torch.cat([label, label])
            call = ratio(
                options.pairs * 3,
                lambda guided=guided, x=x: guided(x, 0.5, label=label),
                lambda denoiser=denoiser, twice=twice, labels=labels: denoiser(twice, 0.5, label=labels),
            )
            within = ratio(
                options.pairs, lambda ours=ours, some=some: ours(some), lambda ours=ours, d=denoiser: ours(d)
            )
            beside = ratio(
                options.pairs,
                lambda x=x: theirs(peer, x, label, options.steps),
                lambda ours=ours, guided=guided: ours(guided),
            )
            error = (ours(guided) - theirs(peer, x, label, options.steps)).square().mean()
            print(
                f"{precision}: a guided call {call:.3f} of a call on twice the batch; with an interval of 40 % "
                f"{within:.2f} of unguided; diffusers takes {beside:.2f} times as long, PSNR "
                f"{-10 * torch.log10(error / 4):.1f} dB",
                flush=True,
            )


def theirs(peer: Any, x: Tensor, label: Tensor, steps: int) -> Tensor:
    """The guided loop that diffusers' users write."""
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=1000, timestep_spacing="trailing", clip_sample=False)
    scheduler.set_timesteps(steps)
    labels = torch.cat([torch.full_like(label, NULL), label])
    for t in scheduler.timesteps:
        without, told = peer(torch.cat([x, x]), t, class_labels=labels).sample.chunk(2)
        x = scheduler.step(without + WEIGHT * (told - without), t, x).prev_sample
    return x


def ratio(pairs: int, first: Callable[[], Any], second: Callable[[], Any]) -> float:
    """The median over pairs of the time of the first over that of the second; one pair before is not counted."""
    found: list[float] = []
    for _ in range(pairs + 1):
        start = time.perf_counter()
        first()
        middle = time.perf_counter()
        second()
        found.append((middle - start) / (time.perf_counter() - middle))
    return statistics.median(found[1:])


if __name__ == "__main__":
    main()
