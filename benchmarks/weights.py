"""What guidance does to a class-conditional run, by its weight: class agreement and distance, with an interval or not.

    python benchmarks/weights.py runs/mnist-class [--classifier runs/mnist-classifier] [-n 500] [--out weights]

Classes in turn, the same noise for every row. Agreement: the share of samples that a classifier of real training data
reads as the class asked for. Frechet: the distance to held-out data, over that of as many training items. Recall: the
share of real items that lie among the samples, which falls as guidance narrows them. With an interval, guidance acts
only where the noise level sigma/alpha is inside it. --classifier: the same run as an unconditional model, not told the
class, guided by the gradient of a noisy classifier. Writes curve.png and sheet.png (a class a column, a weight a row).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import undiffuse
from undiffuse import pictures
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.cache import usual
from undiffuse.evaluation.metrics.judge import collect, find, judge_evidence
from undiffuse.models.diffusion import Diffusion
from undiffuse.storage.files import write_bytes

METRICS = ("agreement", "frechet", "precision_recall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/mnist-class"))
    parser.add_argument("--classifier", type=Path)
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 1, 1.5, 2, 3, 5])
    parser.add_argument("--interval", type=float, nargs=2, default=[0.2, 3.0])
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("weights"))
    options = parser.parse_args()
    missing = [run for run in (options.run, options.classifier) if run and not run.exists()]
    if missing:
        print(f"not there yet: {missing[0]}; train it first, for example: undiffuse train mnist-class")
        return
    model, interval = undiffuse.load(options.run), tuple(options.interval)
    real = sources.against(model, None)
    asked = np.arange(options.n) % len(model.classes)
    within = f"inside ({interval[0]:g}, {interval[1]:g}]"
    ways: dict[str, list[tuple[float, dict[str, Any]]]] = {
        "everywhere": [(w, {"label": asked, "guidance": w}) for w in options.weights],
        within: [
            (w, {"label": asked, "guidance": w, "interval": interval}) for w in options.weights if w not in (0, 1)
        ],
    }
    if options.classifier:
        judge = undiffuse.load(options.classifier)
        ways["classifier"] = [
            (w, {"label": asked, "guidance": w, "classifier": judge}) for w in options.weights if w > 0
        ]
    print(f"{'guidance':16} {'weight':>6} {'agreement':>10} {'Frechet/floor':>14} {'precision':>10} {'recall':>7}")
    found: dict[str, list[tuple[float, dict[str, float]]]] = {}
    rows: list[np.ndarray] = []
    for way, plans in ways.items():
        for weight, how in plans:
            x = drawn(model, options.n, how)
            numbers = judged(x, real, asked)
            found.setdefault(way, []).append((weight, numbers))
            rows.append(x[: 2 * len(model.classes)])
            print(
                f"{way:16} {weight:6g} {numbers['agreement']:10.1%} {numbers['frechet']:14.2f} "
                f"{numbers['precision']:10.1%} {numbers['recall']:7.1%}",
                flush=True,
            )
    options.out.mkdir(parents=True, exist_ok=True)
    sheet = np.concatenate([row[: len(model.classes)] for row in rows])
    write_bytes(
        options.out / "sheet.png", pictures.png(pictures.grid(pictures.as_images(sheet), columns=len(model.classes)))
    )
    curve(found, options.out / "curve.png")
    print(f"{options.out}/curve.png, and {options.out}/sheet.png with a row for each line of the table")


def drawn(model: Diffusion, n: int, how: dict[str, Any]) -> np.ndarray:
    """n samples; a weight of 0 is not told the class at all."""
    if how["guidance"] == 0:
        how = {}
    return model.sample(n, seed=0, **how, progress=True).numpy()


def judged(x: np.ndarray, real: sources.Real, asked: np.ndarray) -> dict[str, float]:
    """Agreement, Frechet distance over its floor, precision and recall."""
    held_out, train = real.held_out.some(len(real.held_out)), real.train.some(20_000)
    evidence = collect(x, held_out, train, labels=asked, cache=usual())
    verdicts = judge_evidence(evidence, find(METRICS))
    numbers = {name: float(verdicts[name]["value"]) for name in ("agreement", "precision", "recall")}
    return {**numbers, "frechet": float(verdicts["frechet"]["value"]) / float(verdicts["frechet"]["floor"])}


def curve(found: dict[str, list[tuple[float, dict[str, float]]]], path: Path) -> None:
    """Agreement and distance over the weight, a line for each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, title) in zip(
        figure.subplots(1, 2),
        {"agreement": "class agreement", "frechet": "Frechet distance / floor"}.items(),
        strict=True,
    ):
        for way, points in found.items():
            axes.plot([w for w, _ in points], [numbers[name] for _, numbers in points], marker="o", label=way)
        axes.set(xlabel="weight", title=title)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
