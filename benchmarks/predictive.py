"""Predictions with uncertainty: a table's column by `card` and by what people use besides, and toys of a known law.

    python benchmarks/predictive.py TABLE.csv COLUMN [--splits 5] [--rows N] [--set FIELD=VALUE ...]
    python benchmarks/predictive.py --toys [linear inverse_sine ...]

Of a table each split trains on four fifths of the rows and predicts the fifth that is left, or with --rows on N rows
and predicts all others; the numbers are means over the splits. Every method gives a distribution, and all are judged
by the same metrics: `card` by its draws, linear regression by a normal law, boosting by 19 quantiles, an ensemble of
five networks by the normal laws of their spread and their residuals, and split conformal prediction by the residuals
of boosting on rows that it did not see.
Of a toy 20,480 new points are predicted, 128 draws each (--points, --draws), beside the law itself; of as many draws n
the mean has an error of its own, which makes the RMSE larger by 1/(2n) of it. CPU seconds are of training, and of
predicting the new points.
"""

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np

import undiffuse
from undiffuse.core import registry
from undiffuse.data import resolve
from undiffuse.data.to_predict import inputs
from undiffuse.data.toys.toy_regression import SINE, WAVE, ToyRegression, Which
from undiffuse.sampling.predictions import Predictions

METRICS = ("rmse", "gaussian_nll", "crps", "picp", "qice")
LEVELS = np.arange(1, 20) / 20
DRAWS, PLACES, MEMBERS = 400, 40, 5
POINTS, TOY_DRAWS = 20_480, 128
HEAD = f"{'':20}" + "".join(f"{name:>14}" for name in METRICS) + "    train s  predict s"
EVEN = (np.arange(DRAWS) + 0.5) / DRAWS  # the levels of as many draws of a known law

Law = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # training inputs, targets, new inputs -> draws


def judged(draws: np.ndarray, targets: np.ndarray) -> list[float]:
    """Every metric of draws (rows, n) of targets (rows,)."""
    found = Predictions(draws[:, :, None], ("y",))
    return [registry.get("metrics", name)().of(found, targets[:, None]) for name in METRICS]


def normal(mean: np.ndarray, std: np.ndarray | float) -> np.ndarray:
    """Draws of normal laws, at even levels."""
    from scipy.special import ndtri

    return mean[:, None] + np.broadcast_to(std, mean.shape)[:, None] * ndtri(EVEN)


def linear(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(x, y)
    return normal(model.predict(new), float(np.std(y - model.predict(x), ddof=min(x.shape[1] + 1, len(y) - 1))))


def boosting(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingRegressor as Boosting

    models = [Boosting(loss="quantile", quantile=level).fit(x, y) for level in LEVELS]
    found = np.sort([model.predict(new) for model in models], axis=0)  # quantiles never cross
    return np.stack([np.interp(EVEN, LEVELS, row) for row in found.T])


def ensemble(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.neural_network import MLPRegressor
    from sklearn.preprocessing import StandardScaler

    inputs, mean, std = StandardScaler().fit(x), y.mean(), y.std()
    rows = np.random.default_rng(0).permutation(len(x))
    seen, kept = rows[len(x) // 10 :], rows[: len(x) // 10]
    models = [
        MLPRegressor(hidden_layer_sizes=(100, 50), max_iter=500, early_stopping=True, random_state=seed).fit(
            inputs.transform(x[seen]), (y[seen] - mean) / std
        )
        for seed in range(MEMBERS)
    ]
    parts = (inputs.transform(part) for part in (x[kept], new))
    told = [np.array([model.predict(part) for model in models]) * std + mean for part in parts]
    noise = max(0.0, float(np.mean((y[kept] - told[0].mean(0)) ** 2 - told[0].var(0))))
    return normal(told[1].mean(0), np.sqrt(told[1].var(0) + noise))


def conformal(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingRegressor as Boosting

    rows = np.random.default_rng(0).permutation(len(x))
    seen, kept = rows[len(x) // 4 :], rows[: len(x) // 4]
    model = Boosting().fit(x[seen], y[seen])
    left = np.quantile(y[kept] - model.predict(x[kept]), EVEN, method="weibull")
    return model.predict(new)[:, None] + left


BASELINES: dict[str, Law] = {
    "linear": linear,
    "quantile boosting": boosting,
    "ensemble of 5": ensemble,
    "split conformal": conformal,
}


def trained(words: Sequence[str], out: Path, settings: Sequence[str]) -> float:
    """CPU seconds of `undiffuse train`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = ["train.preview_every=0", "train.checkpoint_every=0", "train.snapshots=0"]
    command = [sys.executable, "-m", "undiffuse", "train", *words, "--out", str(out), "--set", *quiet, *settings]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def line(name: str, numbers: Sequence[float], *seconds: float) -> str:
    return f"{name:20}" + "".join(f"{number:14.4f}" for number in numbers) + "".join(f"{s:11.1f}" for s in seconds)


def of_table(path: Path, column: str, splits: int, count: int | None, settings: Sequence[str]) -> None:
    """One table, the mean over the splits; count: rows to train on, left out: four fifths."""
    with path.open(newline="") as file:
        head, *rows = list(csv.reader(file))
    found: dict[str, list[list[float]]] = {name: [] for name in ("card", *BASELINES)}
    seconds: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for split in range(splits):
            order = np.random.default_rng(split).permutation(len(rows))
            kept = len(rows) // 5 if count is None else len(rows) - count
            part = {"train": order[kept:], "test": order[:kept]}
            files = {name: Path(folder) / f"{split}-{name}.csv" for name in part}
            for name, which in part.items():
                with files[name].open("w", newline="") as file:
                    csv.writer(file).writerows([head, *(rows[i] for i in which)])
            learned = resolve.open(str(files["train"]), target=column)
            aim = learned.conditions["target"][:, 0].astype(np.float64)
            run = Path(folder) / f"run-{split}"
            asked = [f"data.target={column}", "train.held_out=0.05", *settings]
            training = trained([str(files["train"]), "--recipe", "card"], run, asked)
            model = undiffuse.load(run)
            new, cells = inputs(model, files["test"])
            assert cells is not None
            truth = cells[column].cast(float).to_numpy()
            started = time.process_time()
            draws = model.predict(files["test"], n=DRAWS, seed=split).draws[:, :, 0]
            seconds.append((training, time.process_time() - started))
            found["card"].append(judged(draws, truth))
            for name, law in BASELINES.items():
                found[name].append(judged(law(np.asarray(learned.x), aim, new), truth))
            print(f"split {split}, crps:", *(f"{name} {each[-1][2]:.3f}" for name, each in found.items()), flush=True)
    print(f"{path.name}, {column}, {splits} splits of {len(part['train'])} rows\n{HEAD}")
    for name, each in found.items():
        took = np.mean(seconds, axis=0).tolist() if name == "card" else ()
        print(line(name, np.mean(each, axis=0).tolist(), *took))


def of_toy(which: Which, settings: Sequence[str], folder: Path, points: int, n: int) -> None:
    """Predictions of new points, and those of the law itself where it is one of a mean and a spread."""
    training = trained(["card-toy"], folder / which, [f"data.which={which}", *settings])
    toy = ToyRegression(which, points)
    x, y = toy.draw(np.random.default_rng(1))
    started = time.process_time()
    draws = undiffuse.load(folder / which).predict(x[:, None].astype(np.float32), n=n, progress=True).draws[:, :, 0]
    print(line(which, judged(draws, y), training, time.process_time() - started), flush=True)
    if which in ("linear", "quadratic", "sine"):
        print(line("  its law", judged(normal(toy.middle(x), SINE if which == "sine" else 2.0), y)))
    if which == "inverse_sine":
        at = np.linspace(0.02, 0.98, PLACES)
        new = undiffuse.load(folder / which).predict(at[:, None].astype(np.float32), n=5 * DRAWS).draws[:, :, 0]
        near, off = branches(at, new)
        print(f"  inverse sine: {near:.1%} of draws within 3 deviations of a branch, masses off by {off:.3f} at most")


def branches(x: np.ndarray, draws: np.ndarray) -> tuple[float, float]:
    """The share of draws within 3 deviations of a branch, and the largest error of a branch's mass over all points.

    At x the law of y is p(y) in proportion to exp(-(x - g(y))^2/(2 0.08^2)) in [0, 1]; its branches are parted by the
    places of least density between its peaks, and a branch's deviation is that of the law between these.
    """
    y = np.linspace(0, 1, 2001)
    near, off, counted = 0, 0.0, 0
    for at, drawn in zip(x, draws, strict=True):
        p = np.exp(-((at - y - WAVE * np.sin(2 * np.pi * y)) ** 2) / (2 * SINE**2))
        peaks = np.flatnonzero((p >= np.roll(p, 1)) & (p > np.roll(p, -1)) & (p > 0.01 * p.max()))
        cuts = [0, *(a + int(p[a:b].argmin()) for a, b in pairwise(peaks)), len(y)]
        inside = np.zeros(len(drawn), bool)
        for low, high in pairwise(cuts):
            weight = p[low:high] / p[low:high].sum()
            mean = float((weight * y[low:high]).sum())
            std = float(np.sqrt((weight * (y[low:high] - mean) ** 2).sum()))
            inside |= np.abs(drawn - mean) <= 3 * std
            own = (drawn >= (y[low] if low else -np.inf)) & (drawn < (y[high] if high < len(y) else np.inf))
            off = max(off, abs(float(own.mean()) - float(p[low:high].sum() / p.sum())))
        near, counted = near + int(inside.sum()), counted + len(drawn)
    return near / counted, off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", type=Path, help="a .csv file of numbers, its columns named")
    parser.add_argument("column", nargs="?", help="the one that is predicted")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--rows", type=int, help="of the table that are learned from; left out, four fifths")
    parser.add_argument("--toys", nargs="*", choices=get_args(Which), help="some toys; none named: all")
    parser.add_argument("--points", type=int, default=POINTS, help="of a toy that are predicted")
    parser.add_argument("--draws", type=int, default=TOY_DRAWS, help="of each of them")
    parser.add_argument("--out", type=Path, help="where the toys' runs stay")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the recipe")
    given = parser.parse_args()
    if given.toys is None and not (given.table and given.column):
        parser.error("name a table and its column, or --toys")
    if given.table:
        of_table(given.table, given.column, given.splits, given.rows, given.set)
    if given.toys is not None:
        print(HEAD)
        with tempfile.TemporaryDirectory() as folder:
            for which in given.toys or get_args(Which):
                of_toy(which, given.set, given.out or Path(folder), given.points, given.draws)


if __name__ == "__main__":
    main()
