"""DDIM (arXiv:2010.02502): its formula written out, its variances, and what its grids do to a Gaussian."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from undiffuse.core.grid import Grid
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.grids.even import Even
from undiffuse.grids.leading import Leading
from undiffuse.grids.linspace import Linspace
from undiffuse.grids.quadratic import Quadratic
from undiffuse.grids.trailing import Trailing
from undiffuse.samplers import DDIM
from undiffuse.schedules import LinearBeta

PROCESS = Gaussian(LinearBeta())
ORACLE = GaussianOracle(PROCESS, 0.0, 0.25)


@pytest.mark.parametrize("eta", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("t", "s"), [(999, 899), (500, 499), (100, 0)])
def test_a_step_is_the_papers_formula(eta: float, t: int, s: int):
    """eq. 12 with eq. 16, from the noise guess; indices of the table."""
    x_t = Random(0).normal((3, 2), dtype=torch.float64)
    process = PROCESS
    time, target = (torch.tensor((i + 1) / 1000, dtype=torch.float64) for i in (t, s))
    abar_t, abar_s = (float(process.schedule.alpha(u)) ** 2 for u in (time, target))
    noise = process.noise(x_t, ORACLE(x_t, time), time)
    guess = (x_t - math.sqrt(1 - abar_t) * noise) / math.sqrt(abar_t)
    sigma = eta * math.sqrt((1 - abar_s) / (1 - abar_t)) * math.sqrt(1 - abar_t / abar_s)
    belief: Any = DDIM(eta).step(ORACLE, x_t, time, target, random=Random(0))[0]
    torch.testing.assert_close(
        belief.mean, math.sqrt(abar_s) * guess + math.sqrt(1 - abar_s - sigma**2) * noise, rtol=1e-9, atol=1e-9
    )
    assert float(torch.as_tensor(belief.var).max()) == pytest.approx(sigma**2, rel=1e-8, abs=1e-15)


def final_std(grid: Grid, steps: int) -> float:
    one = torch.ones(1, 1, dtype=torch.float64)
    *_, x = trajectory(ORACLE, DDIM(), one, grid(LinearBeta(), steps), random=Random(0))
    return float(x)


ROWS = {
    Leading(): (0.374128, 0.433734, 0.472439, 0.485981),
    Trailing(): (0.369955, 0.431368, 0.471403, 0.485447),
    Linspace(): (0.361612, 0.430452, 0.471915, 0.485848),
    Quadratic(): (0.424521, 0.462782),
}


@pytest.mark.each(
    ("grid", "steps", "std"),
    [(grid, steps, std) for grid, row in ROWS.items() for steps, std in zip((10, 20, 50, 100), row, strict=False)],
    ids=str,
)
def test_the_final_std_of_a_gaussian_for_each_spacing(grid: Grid, steps: int, std: float):
    """X07: data N(0, .25), started from N(0, 1)."""
    assert final_std(grid, steps) == pytest.approx(std, abs=1e-6)


def test_the_final_std_after_all_steps():
    """X07 at 1000 steps, where the spacings are one: the slopes of all steps in one batch of times."""
    times, x = Even()(LinearBeta(), 1000), torch.ones(1000, 1, dtype=torch.float64)
    belief: Any = DDIM().step(ORACLE, x, times[:-1], times[1:], random=Random(0))[0]
    assert float(belief.mean.prod()) == pytest.approx(0.498495, abs=1e-6)


def test_encoding_and_decoding_returns_with_an_error_of_first_order():
    """The same map run to noise and back: eta = 0 is invertible as steps grow."""
    errors: list[float] = []
    for steps in (25, 50, 100):
        times = Even()(LinearBeta(), steps)[:-1].flip(0)
        x_0 = torch.tensor([[0.4]], dtype=torch.float64)
        x = x_0
        for t, s in pairwise(times):  # towards noise: the bridge takes any two times
            x = PROCESS.bridge(x, ORACLE(x, t).mean_only(), s, t, PROCESS.keep(s, t, x)).mean
        *_, back = trajectory(ORACLE, DDIM(), x, times.flip(0), random=Random(0))
        errors.append(abs(float(back - x_0)))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.5)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.35)
