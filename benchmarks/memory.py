"""Memory that mapped data cost beyond the mapping: what a process holds of its own, PyTorch included.

    python benchmarks/memory.py [--gigabytes 20]

A table of 1,000,000 x 64 numbers, and a sparse file of images of which one in a thousand is written, each looked at by
`undiffuse check-data` and trained on for a few steps. `own` is the largest anonymous resident memory (Linux), that is
without the pages of mapped files.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def own(*words: str) -> tuple[float, float]:
    """The largest anonymous memory of an `undiffuse` command in megabytes, and its seconds; it must succeed."""
    started, most = time.perf_counter(), 0
    with subprocess.Popen([sys.executable, "-m", "undiffuse", *words], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"RssAnon:\s+(\d+)", status)
            most = max(most, int(found[1]) if found else 0)
            time.sleep(0.05)
        if process.returncode:
            raise SystemExit(f"undiffuse {' '.join(words)} failed")
    return most / 1000, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20)
    size = parser.parse_args().gigabytes
    steps = ["train.steps=20", "train.preview_every=0", "train.validate_every=0"]
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = np.lib.format.open_memmap(folder / "table.npy", "w+", np.float32, (1_000_000, 64))
        for start in range(0, len(table), 50_000):
            table[start : start + 50_000] = random.standard_normal((50_000, 64))
        count = int(size * 1e9 / 3072)
        images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, 32, 32, 3))
        for i in range(0, count, 1000):
            images[i] = random.integers(0, 256, (32, 32, 3))
        del table, images
        for name, more in (("table", []), ("images", ["train.batch=16", "network.width=16"])):
            file = folder / f"{name}.npy"
            looked = own("check-data", str(file), "-o", str(folder / "sheet.png"))
            trained = own("train", str(file), "--out", str(folder / name), "--set", *steps, *more)
            print(
                f"{name}: {file.stat().st_size / 1e9:.2f} GB; check-data own {looked[0]:.0f} MB in {looked[1]:.0f} s, "
                f"train own {trained[0]:.0f} MB in {trained[1]:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
