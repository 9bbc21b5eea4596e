"""How long training waits for a checkpoint of the CIFAR-10 network of 35.7 million parameters, and what writing costs.

    python benchmarks/checkpoint.py --saves 3

The state is the weights, three averages of them and the optimiser's moments. Training waits for a copy in memory; the
files are written while it goes on. The last line kills a process in the middle of writing and loads what is left.
"""

import argparse
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from undiffuse.training import checkpoint
from undiffuse.training.loop import Training
from undiffuse.training.start import train


def prepare(folder: Path, run: str) -> Training:
    """A run of the shipped recipe on a few random images, a batch of one."""
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    never = [f"train.{name}_every=0" for name in ("checkpoint", "preview", "validate")]
    settings = [f"data.path={folder / 'images.npz'}", "train.batch=1", "train.steps=1000", *never]
    return train("ddpm-cifar10", out=folder / run, overrides=settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=3)
    saves = parser.parse_args().saves
    with tempfile.TemporaryDirectory() as folder:
        training = prepare(Path(folder), "run")
        print(f"parameters: {sum(p.numel() for p in training.module.parameters()):,}")
        plain = [_step(training) for _ in range(4)][1:]
        for number in range(1, saves + 1):
            started = time.perf_counter()
            training.save()
            pause = time.perf_counter() - started
            during = [_step(training)]
            while training.writing:
                during.append(_step(training))
            took = time.perf_counter() - started
            print(
                f"save {number}: training waits {pause:.2f} s, the files are whole after {took:.1f} s; "
                f"a step takes {statistics.median(during):.2f} s meanwhile, {statistics.median(plain):.2f} s otherwise"
            )
        files = [file for file in Path(folder, "run", "checkpoints").rglob("*") if file.is_file()]
        print(f"on the disk: {sum(file.stat().st_size for file in files) / 2**20:.0f} MiB of checkpoints")
        print(f"after a kill in the middle of writing the step before is there: {_killed(Path(folder))}")


def _killed(folder: Path) -> bool:
    """Save twice in a process of its own, kill it while it writes the second time, and load what is left."""
    child = os.fork()
    if child == 0:
        training = prepare(folder, "killed")
        next(training)
        training.save()
        next(training)
        while training.writing:
            time.sleep(0.01)
        training.save()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    left = checkpoint.newest(folder / "killed")
    return left is not None and left.name == "00000001" and checkpoint.load(left)[1]["step"] == 1


def _step(training: Training) -> float:
    started = time.perf_counter()
    next(training)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
