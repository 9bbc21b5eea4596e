"""Time to `undiffuse --help`; time and memory beyond `import torch` of the package, of `show` and `sample`, of a run.

    python benchmarks/startup.py [--runs 7] [--run FOLDER]

Medians of whole processes: `--help` with the start of its interpreter, the others as differences of pairs that
alternate with `import torch` alone. CPU seconds are of all threads. Without --run it trains the digits for 40 steps.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PYTHON = sys.executable
BARE = (PYTHON, "-c", "import torch")
MEASURED = {
    "import undiffuse, its core and a sampler": (
        "-c",
        "import torch, undiffuse; undiffuse.sample, undiffuse.schedules.LinearBeta, undiffuse.samplers.DDIM",
    ),
    "undiffuse list": ("-m", "undiffuse", "list"),
    "undiffuse.load(RUN)": ("-c", "import undiffuse; undiffuse.load(r'RUN')"),
    "undiffuse show RUN": ("-m", "undiffuse", "show", "RUN"),
    "undiffuse sample RUN -n 1": ("-m", "undiffuse", "sample", "RUN", "-n", "1", "-o", "OUT"),
}


class Cost(NamedTuple):
    """What a process took: seconds, CPU seconds, peak MB."""

    wall: float
    cpu: float
    peak: float


def cost(*command: str) -> Cost:
    """Of a command that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def beyond(runs: int, *command: str) -> Cost:
    """Medians of what a command takes more than `import torch`, in pairs of which the first does not count."""
    pairs = [(cost(*BARE), cost(*command)) for _ in range(runs + 1)][1:]
    return Cost(*(statistics.median(full[i] - bare[i] for bare, full in pairs) for i in range(3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--run", help="a run folder [default: digits, trained for 40 steps]")
    given = parser.parse_args()
    command = (PYTHON, "-m", "undiffuse", "--help")
    helps = [cost(*command) for _ in range(given.runs + 1)][1:]
    print(f"undiffuse --help: {statistics.median(h.wall for h in helps):.2f} s (median of {given.runs})")
    loaded = subprocess.run([PYTHON, "-X", "importtime", *command[1:]], check=True, capture_output=True, text=True)
    print(f"torch imported by --help: {any(line.endswith('| torch') for line in loaded.stderr.splitlines())}")
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or str(Path(folder) / "digits")
        if not given.run:
            train = (PYTHON, "-m", "undiffuse", "train", "digits", "--set", "train.steps=40", "--out", run)
            subprocess.run(train, check=True, capture_output=True)
        print(f"\n{f'beyond import torch (medians of {given.runs} pairs)':42} {'s':>6} {'CPU s':>6} {'MB':>5}")
        for name, words in MEASURED.items():
            filled = (word.replace("RUN", run).replace("OUT", str(Path(folder) / "one.png")) for word in words)
            wall, cpu, peak = beyond(given.runs, PYTHON, *filled)
            print(f"{name:42} {wall:6.2f} {cpu:6.2f} {peak:5.0f}")


if __name__ == "__main__":
    main()
