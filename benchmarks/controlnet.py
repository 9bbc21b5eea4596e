"""What controls do to a class-conditional run: whether samples have the edges and the map asked for, and what it costs.

    python benchmarks/controlnet.py [--base runs/fashion-class] [--edges runs/fashion-control]
        [--map runs/fashion-control-map] [--beside RUN ...] [-n 500] [--cost]

Held-out items in turn: their classes, their edges and their maps are asked for, from the same noise in every row.
edges: F1 of the edges of a sample and those asked for, an edge counting where one of the other's is at most a pixel
away. map: the share of blocks with the grey level asked for. class: the share of samples that a classifier of real
training data reads as the class asked for. Frechet: the distance to held-out data, over that of as many training items.
The row of real items shows other items of the same classes, as chance. Writes controlnet.png: edges and maps asked for,
then a row of samples for each line. --beside: runs whose network was trained with the picture as channels beside the
sample (plain concatenation), as `undiffuse train fashion-class --set conditions.edges.kind=image
conditions.edges.of=edges train.steps=2500 --out runs/fashion-edges` makes one. --cost instead: seconds and memory of a
training step of the base and of a control, of equal batches in float32, without samples.
"""

import argparse
import ctypes
import gc
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import undiffuse
from undiffuse import pictures
from undiffuse.conditions.derived_image import maker
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.cache import usual
from undiffuse.evaluation.metrics.judge import collect, find, judge_evidence
from undiffuse.storage.files import write_bytes

SHOWN = 16
QUIET = ["train.preview_every=0", "train.validate_every=0", "train.precision=float32", "train.snapshots=0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("runs/fashion-class"))
    parser.add_argument("--edges", type=Path, default=Path("runs/fashion-control"))
    parser.add_argument("--map", type=Path, default=Path("runs/fashion-control-map"))
    parser.add_argument("--beside", type=Path, action="append", default=[])
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("controlnet.png"))
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--steps", help=argparse.SUPPRESS)  # a run, in a process of its own
    options = parser.parse_args()
    if options.steps:
        steps(Path(options.steps))
        return
    missing = [run for run in (options.base, options.edges, options.map, *options.beside) if not run.exists()]
    if missing:
        print(f"not there yet: {missing[0]}; train it first, for example: undiffuse train fashion-class")
        return
    if options.cost:
        cost(options.base, options.edges)
        return
    agreement(options)


def agreement(options: argparse.Namespace) -> None:
    """The table, and the sheet."""
    base = undiffuse.load(options.base)
    nets = {"edges": undiffuse.load(options.edges), "map": undiffuse.load(options.map)}
    made = {name: maker(net.conditions[name].of, name) for name, net in nets.items()}
    real = sources.against(base, None)
    items = real.held_out.some(options.n)
    asked = {name: make(np.asarray(items.x), 255.0) for name, make in made.items()}
    labels = items.conditions["label"]
    names = np.array(base.classes)[labels]
    print(f"{'control':34} {'edges F1':>9} {'map':>7} {'class':>7} {'Frechet/floor':>14} {'ms a sample':>12}")
    ways: dict[str, list[tuple[str, float, Any]]] = {
        "none": [],
        "edges, weight 0.5": [("edges", 0.5, None)],
        "edges": [("edges", 1.0, None)],
        "edges, weight 1.5": [("edges", 1.5, None)],
        "edges, noise above 0.5": [("edges", 1.0, (0.5, np.inf))],
        "map": [("map", 1.0, None)],
        "edges and map": [("edges", 1.0, None), ("map", 1.0, None)],
        "edges and map, weight 0.5 each": [("edges", 0.5, None), ("map", 0.5, None)],
    }
    shown = [asked["edges"][:SHOWN], large(asked["map"][:SHOWN], items.shape)]
    for way, controls in ways.items():
        given = {name: asked[name] for name, _, _ in controls}
        steering = [(nets[name], weight, interval) for name, weight, interval in controls]
        drawn = base.sample(len(names), seed=0, label=names, controlnet=steering, **given, progress=True)
        row(way, drawn.numpy(), asked, made, (real, labels), 1000 * drawn.seconds / len(names))
        shown.append(drawn.numpy()[:SHOWN])
    for path in options.beside:
        run = undiffuse.load(path)
        given = {name: values for name, values in {**asked, "label": names}.items() if name in run.conditions}
        drawn = run.sample(len(names), seed=0, **given, progress=True)
        way = f"{' and '.join(name for name in given if name in asked)}, as channels ({path.name})"
        row(way, drawn.numpy(), asked, made, (real, labels), 1000 * drawn.seconds / len(names))
        shown.append(drawn.numpy()[:SHOWN])
    others = np.concatenate([np.roll(np.flatnonzero(labels == each), 1) for each in np.unique(labels)])
    same = np.empty(len(labels), np.int64)
    same[np.concatenate([np.flatnonzero(labels == each) for each in np.unique(labels)])] = others
    row("real items of the same classes", np.asarray(items.x)[same], asked, made, (real, labels), float("nan"))
    shown.append(np.asarray(items.x)[:SHOWN])
    sheet = pictures.grid(pictures.as_images(np.concatenate(shown)), columns=SHOWN)
    write_bytes(options.out, pictures.png(sheet))
    print(f"{options.out}: edges and maps asked for, samples of each row but the last, and the items themselves")


def row(
    what: str, x: np.ndarray, asked: dict[str, np.ndarray], made: dict[str, Any], judged_by: Any, cost: float
) -> None:
    """One line of the table."""
    real, labels = judged_by
    found = {name: make(x, 255.0) for name, make in made.items()}
    blocks = float((np.abs(found["map"].astype(np.float64) - asked["map"]) < 0.5).mean())
    evidence = collect(x, real.held_out.some(len(real.held_out)), real.train.some(20_000), labels=labels, cache=usual())
    verdicts = judge_evidence(evidence, find(("agreement", "frechet")))
    told = float(verdicts["agreement"]["value"])
    distance = float(verdicts["frechet"]["value"]) / float(verdicts["frechet"]["floor"])
    score = f1(found["edges"], asked["edges"])
    print(f"{what:34} {score:9.1%} {blocks:7.1%} {told:7.1%} {distance:14.2f} {cost:12.1f}", flush=True)


def f1(found: np.ndarray, asked: np.ndarray) -> float:
    """The harmonic mean of the shares of each one's edges within a pixel of the other's, over all items."""
    one, other = (torch.from_numpy(each > 0).float() for each in (found, asked))
    near = [F.max_pool2d(each, 3, stride=1, padding=1) for each in (one, other)]
    precision = float((one * near[1]).sum() / one.sum().clamp(min=1))
    recall = float((other * near[0]).sum() / other.sum().clamp(min=1))
    return 2 * precision * recall / max(precision + recall, 1e-9)


def large(maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The maps at the pictures' size."""
    times = shape[-1] // maps.shape[-1]
    return maps.repeat(times, -1).repeat(times, -2)


def cost(base: Path, control: Path) -> None:
    """Seconds and memory of a training step, each in a process of its own, twice in turns."""
    print(f"{'a training step of':24} {'ms':>8} {'memory MB':>10}")
    best: dict[str, list[tuple[float, float]]] = {"the base": [], "the control": []}
    for _ in range(2):
        for what, run in (("the base", base), ("the control", control)):
            done = subprocess.run(
                [sys.executable, __file__, "--steps", str(run)], capture_output=True, text=True, check=True
            )
            seconds, memory = map(float, done.stdout.split()[-2:])
            best[what].append((seconds, memory))
    least = {what: tuple(min(column) for column in zip(*rows, strict=True)) for what, rows in best.items()}
    for what, (seconds, memory) in least.items():
        print(f"{what:24} {1000 * seconds:8.1f} {memory:10.1f}")
    (first, held), (second, more) = least["the base"], least["the control"]
    print(f"{'ratio':24} {second / first:8.2f} {more / held:10.2f}")


def steps(run: Path, count: int = 12) -> None:
    """Print the median seconds of a training step of the run's recipe, and the most memory that training takes, weights
    and all, beyond what the process holds after a training of one step, whose memory was given back.
    """
    torch.set_num_threads(1)
    recipe = undiffuse.Recipe.find(run)
    with np.load(recipe["data"]["path"]) as arrays, tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "few.npz"), **{name: arrays[name][:512] for name in arrays.files})
        trained(recipe, folder, 1)
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        before = resident()
        print(float(np.median(np.diff(trained(recipe, folder, count))[2:])), peak() - before)


def trained(recipe: undiffuse.Recipe, folder: str, count: int) -> list[float]:
    """When each of so many steps was done."""
    few = [f"data.path={folder}/few.npz", f"train.steps={count}", *QUIET]
    training = undiffuse.train(recipe, out=Path(folder, f"run{count}"), overrides=few)
    return [time.perf_counter(), *(time.perf_counter() for _ in training)]


def resident() -> float:
    """The memory of this process now, in MB; the peak is counted anew from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """The most memory since then."""
    return _status("VmHWM")


def _status(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


if __name__ == "__main__":
    main()
