"""Time to `undiffuse --help`, and of `import undiffuse` beyond `import torch`.

    python benchmarks/startup.py [--runs 7]

Medians of whole processes, interpreter start included for the command and taken off in pairs for the import.
"""

import argparse
import statistics
import subprocess
import sys
import time


def seconds(*command: str) -> float:
    """Wall time of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    python = sys.executable
    command = (python, "-m", "undiffuse", "--help")
    seconds(*command)
    helps = [seconds(*command) for _ in range(runs)]
    print(f"undiffuse --help: {statistics.median(helps):.2f} s (median of {runs})")
    loaded = subprocess.run(
        [python, "-X", "importtime", *command[1:]], check=True, capture_output=True, text=True
    ).stderr
    print(f"torch imported by --help: {any(line.endswith('| torch') for line in loaded.splitlines())}")
    both = "import torch, undiffuse; undiffuse.sample, undiffuse.schedules.LinearBeta, undiffuse.samplers.DDIM"
    pairs = [(seconds(python, "-c", "import torch"), seconds(python, "-c", both)) for _ in range(runs + 1)][1:]
    beyond = statistics.median(b - a for a, b in pairs)
    print(f"import undiffuse, its core and a sampler, beyond import torch: {beyond:.2f} s (median of {runs} pairs)")


if __name__ == "__main__":
    main()
