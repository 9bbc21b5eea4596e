"""Time to encode and decode a batch of images by a run, beside diffusers' AutoencoderKL on the same weights.

    python benchmarks/autoencoder.py [--pairs 3] [--images 64] [--size 64]

Widths 64, 128, 128 with diffusers' random weights, saved by diffusers and read by both sides. The run's default
precision is float32. Runs alternate; medians of the pairs, in CPU seconds of this process. `differs` is the distance
between the two sides' decoded images as a share of their size.
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
from undiffuse.codecs.identity import Identity
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.models.autoencoder import AutoencoderRun
from undiffuse.networks.autoencoder_kl import AutoencoderKL
from undiffuse.recipes.recipe import Recipe

diffusers: Any = importlib.import_module("diffusers")

WIDTHS = (64, 128, 128)
TABLES: dict[str, Any] = {
    "kind": "autoencoder",
    **{table: {} for table in ("data", "train")},
    "codec": {"name": "identity"},
    "network": {"name": "autoencoder_kl"},
    "bottleneck": {"name": "kl"},
    "objective": {"name": "autoencoding"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
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
    shape = (3, options.size, options.size)
    x = torch.rand(options.images, *shape, dtype=torch.float32) * 2 - 1
    print(f"{'precision':>10} {'ours':>9} {'diffusers':>10} {'faster':>7} {'differs':>8}")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        peer.save_pretrained(folder)
        for precision in ("auto", "bfloat16"):
            autoencoder = Autoencoder(AutoencoderKL.from_diffusers(Path(folder)), KLBottleneck()).eval()
            run = AutoencoderRun(autoencoder, Identity(), shape, Recipe.of("benchmark", TABLES)).to(precision, "cpu")
            mine: list[float] = []
            theirs: list[float] = []
            made, wanted = x, x
            for _ in range(options.pairs + 1):
                began = time.process_time()
                made = run.reconstruct(x)
                middle = time.process_time()
                wanted = peer.decode(peer.encode(x).latent_dist.mode()).sample
                mine.append(middle - began)
                theirs.append(time.process_time() - middle)
            a, b = statistics.median(mine[1:]), statistics.median(theirs[1:])
            ratio = statistics.median(t / m for m, t in zip(mine[1:], theirs[1:], strict=True))
            differs = float((made - wanted).norm() / wanted.norm())
            print(f"{precision:>10} {a:>7.2f} s {b:>8.2f} s {ratio:>6.2f}x {differs:>8.1e}")


if __name__ == "__main__":
    main()
