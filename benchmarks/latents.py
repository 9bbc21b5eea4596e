"""A training step on cached latents, beside the same step on random numbers of their shape.

    python benchmarks/latents.py [--pairs 7] [--steps 3] [--width 64]

Pictures of 64 x 64 in colour and an autoencoder of them with fresh weights, whose latents are 4 x 16 x 16; the model is
that of the recipe emoji-latent, batch 32. Both sides are whole runs: data, averages of the weights, log. One trains on
latents that were encoded before the first step and are drawn from their posterior in each; mirror images are among
them. The other trains on a file of random numbers. Blocks of steps alternate; median of the pairs' ratios. Then the
same on rows that stay on the disk, and the time to encode all items once.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import undiffuse
from undiffuse.data.decoded_cache import CACHE, MEMORY
from undiffuse.training.loop import Training
from undiffuse.training.start import train

IMAGES, BATCH = 512, 32
AUTOENCODER: dict[str, Any] = {
    "kind": "autoencoder",
    "data": {"name": "file"},
    "codec": {"name": "pixels"},
    "network": {"name": "autoencoder_kl", "width": 32, "multipliers": [1, 2, 2], "blocks": 1, "attention": False},
    "bottleneck": {"name": "kl"},
    "objective": {"name": "autoencoding", "losses": [{"name": "l1"}]},
    "train": {"steps": 1, "batch": 8, "preview_every": 0, "validate_every": 0, "snapshots": 0},
}
MODEL = [f"train.batch={BATCH}", "train.steps=1000000", "train.preview_every=0", "train.validate_every=0"]
MODEL += ["train.checkpoint_every=1000000", "train.precision=float32"]


def latents(folder: Path, name: str, *settings: str) -> Training[Any]:
    """A run on cached latents."""
    data = [f"data.path={folder / 'images.npz'}", f"codec.autoencoder={folder / 'autoencoder'}"]
    return train("emoji-latent", out=folder / name, overrides=[*data, *MODEL, "train.flip=true", *settings])


def numbers(folder: Path, name: str, *settings: str) -> Training[Any]:
    """The same on random numbers."""
    own = ["codec.name=identity", f"data.path={folder / 'random.npz'}"]
    return train("emoji-latent", out=folder / name, overrides=[*own, *MODEL, *settings])


def ratio(title: str, one: Training[Any], other: Training[Any], pairs: int, steps: int) -> None:
    """Alternate blocks of steps; print both times and the median ratio, one over other."""
    times: list[tuple[float, float]] = []
    for pair in range(pairs + 1):
        seconds: dict[int, float] = {}
        for turn in ((one, other), (other, one))[pair % 2]:
            started = time.process_time()
            for _ in range(steps):
                next(turn)
            seconds[id(turn)] = (time.process_time() - started) / steps
        times.append((seconds[id(one)], seconds[id(other)]))
    times = times[1:]  # the first warms up
    ours, theirs = (statistics.median(side) * 1000 for side in zip(*times, strict=True))
    found = [a / b for a, b in times]
    print(f"{title:<40} {ours:8.1f} ms {theirs:8.1f} ms   {statistics.median(found):.3f} "
          f"({min(found):.3f} to {max(found):.3f})", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="in a block")
    parser.add_argument("--width", type=int, default=64, help="of the model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ[CACHE] = str(folder / "cache")
        random = np.random.default_rng(0)
        np.savez(folder / "images.npz", images=random.integers(0, 256, (IMAGES, 64, 64, 3), dtype=np.uint8))
        np.savez(folder / "random.npz", x=random.standard_normal((IMAGES, 4, 16, 16), dtype=np.float32))
        data = [f"data.path={folder / 'images.npz'}"]
        train(AUTOENCODER, out=folder / "autoencoder", overrides=data).run(progress=False)
        width = f"network.width={given.width}"
        started = time.perf_counter()
        one = latents(folder, "latents", width)
        print(f"{2 * IMAGES:,} items encoded in {time.perf_counter() - started:.1f} s, with the start of the run")
        print(f"undiffuse {undiffuse.__version__}, a step of {BATCH}: latents, random numbers, ratio (range)")
        ratio("  in memory", one, numbers(folder, "numbers", width), given.pairs, given.steps)
        os.environ[MEMORY] = "1MB"
        one = latents(folder, "latents-disk", width)
        ratio("  latents on the disk", one, numbers(folder, "numbers-2", width), given.pairs, given.steps)


if __name__ == "__main__":
    main()
