"""Guidance and thresholds: how many pixels burn out, and how far samples are from the data, by weight and threshold.

    python benchmarks/threshold.py runs/imagen [-n 200] [--weights 1 2 4 8] [--data FILE.npz]

For each weight of guidance and each threshold (none, static, dynamic) of all stages: the share of numbers at the ends
of the data's range, beside that of held-out items; the mean spread of an item's numbers, beside theirs, which falls
where colours wash out; and the Frechet distance of the numbers, brought to 8 x 8 by the mean of blocks, to held-out
items. Samples have the conditions of held-out items. Writes a sheet: a row of samples for each setting.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import undiffuse
from undiffuse import pictures
from undiffuse.conditions.from_data import examples
from undiffuse.data.paths import on
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.operators.pool import Pool
from undiffuse.storage.files import write_bytes

THRESHOLDS = ("none", "static", "dynamic:0.995")
SIDE, SHOWN = 8, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--thresholds", nargs="+", default=list(THRESHOLDS))
    parser.add_argument("--data", help="where the run's data are, if not where they were")
    parser.add_argument("--out", type=Path, default=Path("threshold.png"))
    options = parser.parse_args()
    run = undiffuse.load(options.run, "float32")
    run = replace(run, recipe=on(run.recipe, options.data))
    held_out = sources.of_run(run).held_out
    told: dict[str, Any] = dict(examples(run.conditions, held_out.conditions, options.n))
    if run.classes:
        told["label"] = [run.classes[i % len(run.classes)] for i in range(options.n)]
    real = np.asarray(held_out.some(max(options.n, 1000)).x)
    print(f"{len(real)} held-out items: at the ends {ends(real):.2%}, spread {spread(real):.1f}")
    print(f"{'weight':>7} {'threshold':<15} {'at the ends':>11} {'spread':>7} {'distance':>9}")
    rows: list[np.ndarray] = []
    for weight in options.weights:
        for threshold in options.thresholds:
            made = run.sample(options.n, guidance=weight, threshold=threshold, **told).numpy()
            away = frechet(features(made), features(real))
            print(f"{weight:>7g} {threshold:<15} {ends(made):>11.2%} {spread(made):>7.1f} {away:>9.3f}", flush=True)
            rows.append(made[:SHOWN])
    sheet = pictures.as_images(np.concatenate(rows))
    write_bytes(options.out, pictures.png(pictures.grid(sheet, columns=len(rows[0]))))
    print(f"{options.out}: {SHOWN} samples a row, in the order of the table")


def ends(x: np.ndarray) -> float:
    """The share of numbers at the ends of 8 bits."""
    return float(((x == 0) | (x == 255)).mean())


def spread(x: np.ndarray) -> float:
    """The standard deviation of an item's numbers, on average."""
    return float(x.reshape(len(x), -1).astype(np.float64).std(1).mean())


def features(x: np.ndarray) -> np.ndarray:
    """(n, channels * 64), from -1 to 1."""
    small = Pool(x.shape[-1] // SIDE)(torch.from_numpy(x.astype(np.float64)))
    return (small / 127.5 - 1).flatten(1).numpy()


if __name__ == "__main__":
    main()
