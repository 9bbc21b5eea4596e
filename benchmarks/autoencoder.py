"""Time to encode and decode a batch of images, beside diffusers' AutoencoderKL on the same weights.

    python benchmarks/autoencoder.py [--pairs 5] [--images 64] [--size 64]

Widths 64, 128, 128 with diffusers' random weights, saved by diffusers and read by both sides. Runs alternate, medians
of the pairs. `differs` is the distance between the two sides' decoded images as a share of their size.
"""

import argparse
import importlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from undiffuse.bottlenecks.kl import KLBottleneck
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.networks.autoencoder_kl import AutoencoderKL
from undiffuse.networks.precision import pick, place

diffusers: Any = importlib.import_module("diffusers")

WIDTHS = (64, 128, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    torch.manual_seed(0)
    peer = diffusers.AutoencoderKL(
        block_out_channels=WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
    ).eval()
    device, x = torch.device("cpu"), torch.rand(options.images, 3, options.size, options.size) * 2 - 1
    print(f"{'precision':>10} {'ours':>9} {'diffusers':>10} {'faster':>7} {'differs':>8}")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        peer.save_pretrained(folder)
        for precision in ("auto", "float32"):
            ours = Autoencoder(AutoencoderKL.from_diffusers(Path(folder)), KLBottleneck()).eval()
            place(ours, pick(precision, device, ours), device)
            mine: list[float] = []
            theirs: list[float] = []
            made, wanted = x, x
            for _ in range(options.pairs + 1):
                began = time.perf_counter()
                made = ours.decode(ours.latents(ours.posterior(x)))
                middle = time.perf_counter()
                wanted = peer.decode(peer.encode(x).latent_dist.mode()).sample
                mine.append(middle - began)
                theirs.append(time.perf_counter() - middle)
            a, b = statistics.median(mine[1:]), statistics.median(theirs[1:])
            ratio = statistics.median(t / m for m, t in zip(mine[1:], theirs[1:], strict=True))
            differs = float((made - wanted).norm() / wanted.norm())
            print(f"{precision:>10} {a:>7.2f} s {b:>8.2f} s {ratio:>6.2f}x {differs:>8.1e}")


if __name__ == "__main__":
    main()
