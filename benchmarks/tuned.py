"""Error of tuned plans against the exact probability-flow map, beside the default plan and the best of diffusers.

    python benchmarks/tuned.py [--seeds 3] [--starts 1024] [--tuned-on 2048] [--calls 5 10 20]

The mixtures, the starts, the exact map and the schedulers of diffusers are those of accuracy.py; plans are tuned by
`undiffuse.tune_grid` on other starts. Error: root mean square over starts and dimensions. The last lines are the
medians over seeds of the error over the best of diffusers. About 3 minutes on one core.
"""

import argparse
import math
import time
from statistics import median
from typing import Any

import torch
from accuracy import diffusers, exact, mixture, peers, run
from torch import Tensor

import undiffuse
from undiffuse.oracles import MixtureOracle


def best_peer(oracle: MixtureOracle, x: Tensor, truth: Tensor, calls: int) -> tuple[float, str]:
    """The least error of all settings of diffusers with so many calls, and whose it is."""
    schedule = oracle.process.schedule

    def guess(y: Tensor, sigma: Tensor, _: Tensor) -> Tensor:
        t = schedule.time(-2 * sigma.log())
        return oracle(y * schedule.alpha(t), t).mean

    found: list[tuple[float, str]] = []
    for name, scheduler, steps in peers(calls):
        try:
            y, used = run(scheduler, steps, guess, x)
        except (ValueError, IndexError, ZeroDivisionError):  # settings that the peer itself refuses
            continue
        if used <= calls and math.isfinite(value := float((y - truth).square().mean().sqrt())):
            found.append((value, name))
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=1024)
    parser.add_argument("--tuned-on", type=int, default=2048)
    parser.add_argument("--calls", type=int, nargs="+", default=[5, 10, 20])
    options = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    ratios: dict[int, list[float]] = {calls: [] for calls in options.calls}
    for seed in range(options.seeds):
        oracle, random = mixture(seed), undiffuse.Random(seed)
        x = random.fold(9).normal((options.starts, 16), dtype=torch.float64)
        other = random.fold(10).normal((options.tuned_on, 16), dtype=torch.float64)
        truth = exact(oracle, x, 400)

        def error(x: Tensor = x, truth: Tensor = truth, oracle: MixtureOracle = oracle, **how: Any) -> float:
            return float((undiffuse.sample(oracle, (), start=x, **how) - truth).square().mean().sqrt())

        for calls in options.calls:
            peer, name = best_peer(oracle, x, truth, calls)
            started = time.process_time()
            plan = undiffuse.tune_grid(oracle, (), steps=calls, start=other)
            seconds = time.process_time() - started
            usual, tuned = error(steps=calls), error(sampler=plan.sampler, times=plan.times)
            ratios[calls].append(tuned / peer)
            print(
                f"mixture {seed}, {calls} calls: tuned {tuned:.5f} ({seconds:.0f} s), default {usual:.5f}, best peer "
                f"{peer:.5f} ({name}); ratio to it {tuned / peer:.3f} tuned, {usual / peer:.2f} by default",
                flush=True,
            )
    for calls, found in ratios.items():
        print(f"{calls} calls: tuned over the best of diffusers, median of {len(found)}: {median(found):.3f}")


if __name__ == "__main__":
    main()
