"""Time to judge 10,000 images against 50,000, once with nothing in the cache and then with the reference in it.

    python benchmarks/judging.py [--features pixels] [--side 28] [--count 10000]

The images are smooth random ones: what is timed does not depend on what they show.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def smooth(count: int, side: int, seed: int) -> np.ndarray:
    """(count, side, side) images of low frequencies, uint8."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((count, 5, 5)).astype(np.float32)
    spread = np.kron(np.eye(5, dtype=np.float32), np.ones((1, -(-side // 5)), np.float32))[:, :side]
    fine = np.einsum("nij,ik,jl->nkl", coarse, spread, spread, optimize=True)
    return np.clip(fine * 50 + 128 + random.standard_normal(fine.shape) * 8, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default="pixels")
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.savez(folder / "real.npz", images=smooth(5 * given.count, given.side, 0))
        np.savez(folder / "samples.npz", images=smooth(given.count, given.side, 1))
        command = ["evaluate", str(folder / "samples.npz"), "--against", str(folder / "real.npz")]
        environment = {**os.environ, "UNDIFFUSE_CACHE": str(folder / "cache")}
        for state in ("empty", "filled", "filled"):
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "undiffuse", *command, "--features", given.features],
                check=True,
                capture_output=True,
                env=environment,
            )
            seconds = time.perf_counter() - started
            print(
                f"{given.features}, {given.count:,} images of {given.side}: cache {state}, {seconds:.0f} s", flush=True
            )


if __name__ == "__main__":
    main()
