"""Error of the default plan against the exact probability-flow map, beside every deterministic scheduler of diffusers.

    python benchmarks/accuracy.py [--seeds 7] [--starts 512]

Data: 16-D mixtures of 6 Gaussians whose score is known, one a seed; schedule: DDPM's table; start: the same normal
batch at t = 1. The exact map is the ODE solved in 800 Runge-Kutta steps. Error: root mean square over starts and
dimensions. Every scheduler runs with every grid it offers, at 5, 10 and 20 network calls; a line shows the best setting
of each, and the last lines the medians over seeds of our error over the best of diffusers.
"""

import argparse
import importlib
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

import undiffuse
from undiffuse.oracles import MixtureOracle

diffusers: Any = importlib.import_module("diffusers")

BETAS = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def mixture(seed: int) -> MixtureOracle:
    """Six components of random mean, orientation and widths between 0.15 and 0.6."""
    random = undiffuse.Random(seed)
    means = random.fold(0).normal((6, 16), dtype=torch.float64)
    axes = torch.linalg.qr(random.fold(1).normal((6, 16, 16), dtype=torch.float64))[0]
    widths = 0.15 + 0.45 * random.fold(2).uniform((6, 16))
    weights = 0.3 + random.fold(3).uniform((6,))
    covs = axes @ torch.diag_embed(widths**2) @ axes.mT
    return MixtureOracle(undiffuse.Gaussian(undiffuse.schedules.LinearBeta()), weights, means, covs)


def exact(oracle: MixtureOracle, x: Tensor, steps: int = 800) -> Tensor:
    """The probability-flow map from t = 1 to data, by Runge-Kutta in log(sigma/alpha), with x / alpha as the state."""
    schedule = oracle.process.schedule
    noisiest = -float(schedule.log_snr(torch.tensor(1.0))) / 2
    levels = torch.linspace(noisiest, math.log(1e-4), steps + 1, dtype=torch.float64).tolist()

    def slope(y: Tensor, level: float) -> Tensor:
        t = schedule.time(torch.tensor(-2 * level, dtype=torch.float64))
        return y - oracle(y * schedule.alpha(t), t).mean

    y = x / schedule.alpha(torch.tensor(1.0))
    for a, b in pairwise(levels):
        h = b - a
        k1 = slope(y, a)
        k2 = slope(y + h / 2 * k1, a + h / 2)
        k3 = slope(y + h / 2 * k2, a + h / 2)
        k4 = slope(y + h * k3, b)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    t = schedule.time(torch.tensor(-2 * levels[-1], dtype=torch.float64))
    return oracle(y * schedule.alpha(t), t).mean


def peers(calls: int) -> Iterator[tuple[str, Any, int]]:
    """(name, scheduler, steps): every setting that makes `calls` network calls."""
    for spacing in ("leading", "trailing", "linspace"):
        yield "DDIM", diffusers.DDIMScheduler(**BETAS, clip_sample=False, timestep_spacing=spacing), calls
        for order in (2, 3):
            for grid in ({}, {"use_karras_sigmas": True}, {"use_lu_lambdas": True}, {"use_exponential_sigmas": True}):
                for last in ("zero", "sigma_min"):
                    settings = {
                        **BETAS,
                        **grid,
                        "solver_order": order,
                        "final_sigmas_type": last,
                        "timestep_spacing": spacing,
                    }
                    for final in (True, False):
                        scheduler = diffusers.DPMSolverMultistepScheduler(**settings, lower_order_final=final)
                        yield f"DPM-Solver++({order}M)", scheduler, calls
                if "use_lu_lambdas" not in grid:
                    settings = {**BETAS, **grid, "solver_order": order, "timestep_spacing": spacing}
                    yield f"DEIS-{order}", diffusers.DEISMultistepScheduler(**settings), calls
                    yield f"UniPC-{order}", diffusers.UniPCMultistepScheduler(**settings), calls
        for karras in (False, True):
            yield (
                "Heun",
                diffusers.HeunDiscreteScheduler(**BETAS, use_karras_sigmas=karras, timestep_spacing=spacing),
                (calls + 1) // 2,
            )
        yield "PNDM", diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True, timestep_spacing=spacing), calls - 1


def run(scheduler: Any, steps: int, guess: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor) -> tuple[Tensor, int]:
    """A diffusers sampling loop fed with the exact noise at the sigma that the scheduler believes in."""
    scheduler.set_timesteps(steps)
    x, calls = x * float(scheduler.init_noise_sigma), 0
    table = ((1 - scheduler.alphas_cumprod.double()) / scheduler.alphas_cumprod.double()).sqrt()
    sigmas = getattr(scheduler, "sigmas", None)
    exploding = isinstance(scheduler, diffusers.HeunDiscreteScheduler)  # its states are x / alpha
    for i, t in enumerate(scheduler.timesteps):
        index = scheduler.step_index if getattr(scheduler, "step_index", None) is not None else i
        sigma = (
            sigmas[index].double()
            if sigmas is not None and len(sigmas) > len(scheduler.timesteps) - 1
            else table[int(t)]
        )
        alpha = torch.ones(()) if exploding else 1 / (1 + sigma**2).sqrt()
        data = guess(x / alpha, sigma, t)
        x, calls = scheduler.step((x - alpha * data) / (alpha * sigma), t, x).prev_sample, calls + 1
    return x, calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=7)
    parser.add_argument("--starts", type=int, default=512)
    options = parser.parse_args()
    diffusers.logging.set_verbosity_error()
    ratios: dict[int, list[float]] = {calls: [] for calls in (5, 10, 20)}
    for seed in range(options.seeds):
        oracle = mixture(seed)
        schedule = oracle.process.schedule
        x = undiffuse.Random(seed).fold(9).normal((options.starts, 16), dtype=torch.float64)
        truth = exact(oracle, x)

        def guess(y: Tensor, sigma: Tensor, _: Tensor, schedule: Any = schedule, oracle: Any = oracle) -> Tensor:
            t = schedule.time(-2 * sigma.log())
            return oracle(y * schedule.alpha(t), t).mean

        def error(y: Tensor, truth: Tensor = truth) -> float:
            return float((y - truth).pow(2).mean().sqrt())

        for calls, found in ratios.items():
            ours = error(undiffuse.sample(oracle, tuple(x.shape), steps=calls, start=x))
            best: dict[str, float] = {}
            for name, scheduler, steps in peers(calls):
                try:
                    y, used = run(scheduler, steps, guess, x)
                except (ValueError, IndexError, ZeroDivisionError):  # settings that the peer itself refuses
                    continue
                value = error(y)
                if used <= calls and math.isfinite(value):
                    best[name] = min(best.get(name, math.inf), value)
            name, peer = min(best.items(), key=lambda item: item[1])
            row = "  ".join(f"{k} {v:.4f}" for k, v in sorted(best.items(), key=lambda item: item[1]))
            ratio = f"best peer {peer:.4f} ({name}), ratio {ours / peer:.2f}"
            found.append(ours / peer)
            print(f"mixture {seed}, {calls} calls: undiffuse {ours:.4f}, {ratio} | {row}", flush=True)
    for calls, found in ratios.items():
        print(f"{calls} calls: our error over the best of diffusers, median of {len(found)}: {median(found):.2f}")


if __name__ == "__main__":
    main()
