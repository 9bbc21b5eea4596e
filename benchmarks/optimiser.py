"""What a training step takes with another optimiser: CPU seconds of gradient and update, and their ratio.

    python benchmarks/optimiser.py [RECIPE] [--optimisers adamw muon] [--set FIELD=VALUE ...] [--pairs 9]

Both train the same recipe from the same weights on the same batches, a step each in turn; figures are medians, and the
ratio is the median of the pairs' ratios.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import undiffuse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="digits")
    parser.add_argument("--optimisers", nargs="+", default=["adamw", "muon"])
    parser.add_argument("--set", nargs="*", default=[], dest="settings")
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steppers = {name: stepper(options.recipe, name, options.settings, Path(folder)) for name in options.optimisers}
        taken = [{name: seconds(each, step) for name, each in steppers.items()} for step in range(options.pairs + 1)]
    first, *_ = options.optimisers
    print("| optimiser | gradient, s | update, s | step, ratio |")
    print("|---|---|---|---|")
    for name in options.optimisers:
        gradient, update = (median(each[name][i] for each in taken[1:]) for i in range(2))
        ratio = median(sum(each[name]) / sum(each[first]) for each in taken[1:])
        print(f"| {name} | {gradient:.3f} | {update:.4f} | {ratio:.2f} |")


def stepper(recipe: str, optimiser: str, settings: list[str], folder: Path) -> Any:
    """What computes the steps of a run, which writes nothing."""
    quiet = ["train.precision=float32", f"optimiser.name={optimiser}"]
    return undiffuse.train(recipe, out=folder / optimiser, overrides=[*settings, *quiet]).stepper


def seconds(stepper: Any, step: int) -> tuple[float, float]:
    """CPU seconds of a step's gradient and of its update."""
    began = time.process_time()
    stepper.gradient(step)
    between = time.process_time()
    stepper.update(step)
    return between - began, time.process_time() - between


if __name__ == "__main__":
    main()
