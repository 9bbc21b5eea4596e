"""A table: CPU seconds of training and the quality they buy, by the program of today and by an earlier one.

    git worktree add /tmp/before COMMIT
    python benchmarks/tables.py [TABLE.csv] --before /tmp/before [--seeds 3] [--pairs 3] [--set FIELD=VALUE ...]

Each side trains by its own recipe of tables (`undiffuse train TABLE.csv`), one after the other, and judges its own
samples by `undiffuse evaluate`, the mean over seeds beside the floor. Milliseconds a step are of short runs that
alternate between the sides: the difference of two lengths, so that starting counts for nothing. CPU seconds are of all
threads and count previews and checkpoints too. --set goes to both, as `train.steps=3000 data.label=price`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

METRICS = ("column_shapes", "column_pairs", "tstr", "c2st")
SHORT, LONG = 50, 250  # steps
QUIET = ["train.checkpoint_every=0", "train.preview_every=0", "train.validate_every=0", "train.snapshots=0"]


def cpu(source: Path, *words: str) -> float:
    """CPU seconds of `undiffuse` with these words, by the program in a folder; it must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "undiffuse", *words], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", default="census", help="a .csv file, or a recipe of a table")
    parser.add_argument("--before", type=Path, help="a folder with an earlier version; none: today's program alone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("-n", type=int, default=4000, help="samples that are judged")
    parser.add_argument("--set", nargs="*", default=[], help="settings of both")
    given = parser.parse_args()
    sides = {"now": Path(__file__).parents[1] / "src"}
    if given.before:
        sides = {"before": given.before.resolve() / "src", **sides}
    with tempfile.TemporaryDirectory() as folder:

        def train(side: str, name: str, *settings: str) -> float:
            words = ["--set", *given.set, *settings] if [*given.set, *settings] else []
            return cpu(sides[side], "train", given.table, *words, "--out", str(Path(folder) / side / name))

        steps: dict[str, list[float]] = {side: [] for side in sides}
        for pair in range(given.pairs):
            for side in sides:
                short, long = (train(side, f"{pair}-{n}", f"train.steps={n}", *QUIET) for n in (SHORT, LONG))
                steps[side].append(1000 * (long - short) / (LONG - SHORT))
        print(f"{'':8} {'CPU s':>7} {'ms a step':>9}  " + "  ".join(f"{name:>22}" for name in METRICS))
        for side, source in sides.items():
            seconds = train(side, "run")
            found: list[dict[str, dict[str, float]]] = []
            for seed in range(given.seeds):
                out = Path(folder) / side / f"judged-{seed}"
                judge = ["--metrics", ",".join(METRICS), "--seed", str(seed), "-o", str(out)]
                cpu(source, "evaluate", str(Path(folder) / side / "run"), "-n", str(given.n), *judge)
                found.append(json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["metrics"])
            cells: list[str] = []
            for name in METRICS:
                value, floor = (statistics.mean(f[name][key] for f in found) for key in ("value", "floor"))
                cells.append(f"{value:.4f} (floor {floor:.4f})")
            each = f"{statistics.median(steps[side]):9.1f}" if steps[side] else f"{'':9}"
            print(f"{side:8} {seconds:7.1f} {each}  " + "  ".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
