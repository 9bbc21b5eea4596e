"""Exact likelihoods of digits in batches, beside loops that solve one image after the other.

    python benchmarks/likelihood.py [--run runs/digits] [--images 1000] [--alone 4] [--tolerance 1e-4]

Without --run, `undiffuse train digits` runs first (minutes). The loops take the first `--alone` images and are counted
as if all took that long; each image of a loop is timed beside a share of the batches, so that a busy machine slows
both. "by time": the ODE in t by torchdiffeq's dopri5 to the same tolerance, as papers write it. "by ours": `ode` itself
with a batch of 1. Memory is the peak of a process that scores so many images along a short piece of the path, which
takes as much memory as the whole.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from undiffuse import likelihood
from undiffuse.core.random import Random
from undiffuse.evaluation.sources import open_data
from undiffuse.models.load import load

BATCH = 256


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def by_time(denoiser: Any, x_0: Tensor, width: float, tolerance: float) -> tuple[float, int]:
    """log P of one dequantised image by dx/dt and its divergence by one direction, and the calls that it took."""
    process, calls = denoiser.process, 0
    signs = (2 * torch.randint(0, 2, x_0.shape, generator=torch.Generator().manual_seed(0)) - 1).double()

    def slope(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        with torch.enable_grad():
            x = state[0].detach().requires_grad_()
            t = t.clamp(1e-5, 1)  # the solver's first guess of a step may lie beyond
            v = process.velocity(x, denoiser(x, t), t)
            (row,) = torch.autograd.grad((v * signs).sum(), x)
        return v.detach(), (row * signs).sum()[None]

    start, times = torch.zeros(1, dtype=torch.float64), torch.tensor([1e-5, 1.0], dtype=torch.float64)
    with torch.no_grad():
        x, volume = odeint(slope, (x_0, start), times, rtol=tolerance, atol=tolerance, method="dopri5")
    std = float(process.schedule.prior_std(torch.ones((), dtype=torch.float64)))
    prior = -0.5 * float((x[-1] / std).square().sum()) - x_0.numel() * math.log(std * math.sqrt(2 * math.pi))
    return prior + float(volume[-1]) + x_0.numel() * math.log(width), calls


def images(run: Path, count: int) -> tuple[Any, Tensor, likelihood.Decoder]:
    """The run's denoiser, so many digits on their levels, and the levels; digits are repeated where they run out."""
    model = load(run, precision="float32")
    x = np.asarray(open_data("digits").x)
    x = np.resize(x, (count, *x.shape[1:]))
    decoder = likelihood.Decoder()  # of the pixels codec: 256 levels on [-1, 1]
    return model.denoiser, decoder.check(model.codec.encode(x).double()), decoder


def peak(run: Path, count: int) -> float:
    """The largest resident memory in megabytes of a process that scores so many images on a short way."""
    words = [sys.executable, __file__, "--run", str(run), "--images", str(count), "--memory"]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory(run: Path, count: int) -> None:
    import resource

    denoiser, x, decoder = images(run, count)
    likelihood.ode(denoiser, x, decoder=decoder, rtol=1.0, atol=1.0, t_min=0.01, start=0.0101, batch=BATCH)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def divergence(denoiser: Any, x: Tensor) -> tuple[float, float]:
    """Seconds of an evaluation, and of one with its Hutchinson divergence: medians of pairs on one batch."""
    v = 2 * Random(0, torch.arange(len(x))).integers(2, tuple(x.shape)).double() - 1
    pairs = list[tuple[float, float]]()

    def evaluate() -> None:
        with torch.no_grad():
            denoiser(x, 0.01)

    def diverge() -> None:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            torch.autograd.grad((denoiser(at, 0.01).mean * v).sum(), at)

    for _ in range(8):
        pairs.append((timed(evaluate)[0], timed(diverge)[0]))
    return median(a for a, _ in pairs[1:]), median(b for _, b in pairs[1:])


def measure(run: Path, count: int, alone: int, tolerance: float) -> None:
    denoiser, x, decoder = images(run, count)
    values = decoder.dequantise(x[:alone], Random(0, torch.arange(alone)).fold(0, 0))
    loops: dict[str, list[tuple[float, float, float]]] = {"by time": [], "by ours": []}  # seconds, calls, nats
    batches: list[tuple[float, float, int]] = []
    parts = torch.arange(count).split(BATCH)
    solve = partial(likelihood.ode, denoiser, decoder=decoder, rtol=tolerance, atol=tolerance, batch=BATCH)
    for i in range(max(alone, len(parts))):
        if i < len(parts):
            rows = parts[i]

            seconds, found = timed(partial(solve, x[rows], indices=rows))
            batches.append((seconds, found.calls, len(rows)))
        if i < alone:
            one = slice(i, i + 1)
            seconds, found = timed(partial(solve, x[one], indices=torch.tensor([i])))
            loops["by ours"].append((seconds, found.calls, float(found.log_prob)))
            seconds, (nats, calls) = timed(partial(by_time, denoiser, values[one], decoder.width, tolerance))
            loops["by time"].append((seconds, calls, nats))
    each = median(seconds / rows for seconds, _, rows in batches)
    calls = sum(calls * rows for _, calls, rows in batches) / count
    print(f"batches of {BATCH}: {1000 * each:.0f} s for 1,000 images, {calls:.0f} calls an image ({count:,} timed)")
    for name, found in loops.items():
        slow = median(seconds for seconds, _, _ in found)
        asked = median(calls for _, calls, _ in found)
        print(
            f"loop {name}: {1000 * slow:,.0f} s for 1,000 images, {asked:.0f} calls an image "
            f"({len(found)} timed), {slow / each:.1f} times as long"
        )
    plain, both = divergence(denoiser, x[:BATCH])
    print(f"a Hutchinson divergence costs {both / plain:.2f} network evaluations")
    peaks = [f"{count}: {peak(run, count):,.0f} MB" for count in (250, 500, 1000)]
    print(f"peak memory by number of images: {', '.join(peaks)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=4)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        memory(given.run, given.images)
        return
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or Path(folder) / "digits"
        if given.run is None:
            subprocess.run(
                [sys.executable, "-m", "undiffuse", "train", "digits", "--out", str(run)],
                check=True,
                capture_output=True,
            )
        measure(run, given.images, given.alone, given.tolerance)


if __name__ == "__main__":
    main()
