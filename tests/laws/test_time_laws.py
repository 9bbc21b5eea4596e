"""Laws of every grid of times and of every draw of training times, on every schedule."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.schedules import EDM, VE, VP, Flow, LinearBeta, Table
from undiffuse.core.times import (
    Draw,
    Even,
    Grid,
    Karras,
    Leading,
    Linspace,
    LogNormal,
    LogSNR,
    Quadratic,
    Stratified,
    Trailing,
    Uniform,
)


def test_a_grid_falls_strictly_from_noise_to_data(grid: Grid, schedule: Schedule):
    refusals: list[str] = []
    for steps in (1, 2, min(3, schedule.steps or 3), min(18, schedule.steps or 18)):
        try:
            times = grid(schedule, steps)
        except Refused as error:
            refusals.append(str(error))
            continue
        assert times[0] > 0.4
        assert times.shape == (steps + 1,)
        assert times.dtype == torch.float64
        assert (times.diff() < 0).all()
        assert times[-1] == 0
        assert times[0] <= 1
    known = ("would visit a step twice", "would see the cleanest step only", "steps are listed, not")
    assert all(any(words in refusal for words in known) for refusal in refusals)


def test_one_step_that_would_start_at_clean_data_is_refused():
    for grid in (Leading(), Quadratic()):
        with pytest.raises(
            Refused, match=f"{type(grid).__name__.lower()} with 1 step would see the cleanest step only; take trailing"
        ):
            grid(LinearBeta(), 1)


def test_a_grid_of_no_steps_is_refused(grid: Grid):
    for steps in (0, -3):
        with pytest.raises(Refused, match=f"sampling needs at least 1 step, not {steps}"):
            grid(LinearBeta(), steps)


def test_the_tables_grids_visit_the_indices_that_the_papers_name():
    def indices(grid: Grid, steps: int, length: int = 1000) -> list[int]:
        return [round(i) for i in (grid(LinearBeta(steps=length), steps)[:-1] * length - 1).tolist()]

    for steps in (2, 3, 7, 10, 50, 1000):
        exact = np.arange(1000, 0, -1000 / steps)[:steps]
        assert indices(Trailing(), steps) == (np.round(exact) - 1).astype(int).tolist()
        assert indices(Linspace(), steps) == np.round(np.linspace(999, 0, steps)).astype(int).tolist()
        assert indices(Leading(), steps) == list(range(0, 1000, 1000 // steps))[:steps][::-1]
    assert indices(Quadratic(), 10) == [int(i) for i in np.linspace(0, math.sqrt(800), 10) ** 2][::-1]
    assert indices(Quadratic(), 20) == [int(i) for i in np.linspace(0, math.sqrt(800), 20) ** 2][::-1]


def test_a_table_with_all_its_steps_is_the_table():
    for grid in (Even(), Trailing(), Leading(), Linspace()):
        torch.testing.assert_close(grid(LinearBeta(), 1000) * 1000, torch.arange(1000, -1, -1).double())


def test_grids_that_repeat_a_step_are_refused():
    with pytest.raises(
        Refused, match="50 steps on a table of 1000 would visit a step twice; take fewer, or another grid"
    ):
        Quadratic()(LinearBeta(), 50)  # the released code runs one index twice
    with pytest.raises(Refused, match="5 steps on a table of 3 would visit a step twice"):
        Trailing()(Table(betas=(0.1, 0.2, 0.3)), 5)
    with pytest.raises(Refused, match="leading has at most 3 steps here, not 4"):
        Leading()(Table(betas=(0.1, 0.2, 0.3)), 4)


@pytest.mark.parametrize("schedule", [VP(), Flow(), EDM(), LinearBeta()])
def test_log_snr_grid_is_even_in_log_snr(schedule: Schedule):
    times = LogSNR(t_min=0.01)(schedule, 12)
    levels = schedule.log_snr(times[1:-1])
    torch.testing.assert_close(levels.diff(), levels.diff().mean().expand(10), rtol=1e-6, atol=0)
    assert times[0] == 1
    assert float(times[-2]) == pytest.approx(0.01, abs=1e-9)


@pytest.mark.parametrize("schedule", [VP(), Flow(), VE(), LinearBeta()])
def test_karras_grid_has_the_papers_ratios_and_stays_in_range(schedule: Schedule):
    times = Karras()(schedule, 9)
    ratio = (-schedule.log_snr(times[:-1]) / 2).exp()
    top = min(80.0, float((-schedule.log_snr(torch.tensor(1.0).double()) / 2).exp()))
    low = 0.01 if isinstance(schedule, VE) else 0.002  # VE has no noise below its sigma_min
    wanted = (top ** (1 / 7) + np.arange(9) / 8 * (low ** (1 / 7) - top ** (1 / 7))) ** 7
    torch.testing.assert_close(ratio, torch.from_numpy(wanted), rtol=1e-6, atol=0)


def test_draws_lie_in_range_and_on_the_table(draw: Draw, schedule: Schedule):
    t = draw(schedule, Random(3), 500)
    assert t.shape == (500,)
    assert t.dtype == torch.float64
    assert ((t > 0) & (t <= 1)).all()
    assert len(t.unique()) > min(400, (schedule.steps or 1000)) / 4
    if schedule.steps:
        assert ((t * schedule.steps).round() - t * schedule.steps).abs().max() < 1e-9


def test_a_draw_depends_on_the_stream_only(draw: Draw):
    assert torch.equal(draw(VP(), Random(3), 64), draw(VP(), Random(3), 64))
    assert not torch.equal(draw(VP(), Random(3), 64), draw(VP(), Random(4), 64))


def test_a_sample_draws_the_same_in_any_part_of_a_batch(draw: Draw):
    whole = draw(VP(), Random(3, torch.arange(48)), 48)
    for rows in (slice(0, 24), slice(24, 48), slice(7, 11)):
        assert torch.equal(draw(VP(), Random(3, torch.arange(48)[rows]), rows.stop - rows.start), whole[rows])
    assert torch.equal(draw(VP(), Random(3), 48), whole)


def test_uniform_draws_hit_every_step_of_a_table_alike():
    t = Uniform()(Table(betas=(0.1, 0.2, 0.3, 0.4)), Random(0), 20000)
    counts = torch.bincount((t * 4).round().long(), minlength=5)[1:]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert stats.kstest(Uniform(t_min=0.2)(VP(), Random(0), 5000).numpy(), stats.uniform(0.2, 0.8).cdf).pvalue > 1e-3


def test_stratified_draws_put_one_in_each_stratum():
    t = Stratified(t_min=0.0)(VP(), Random(5), 64)
    for part in (t, t[:32], t[32:], t[16:32]):
        assert torch.equal((part * len(part)).floor().long().sort().values, torch.arange(len(part)))
    odd = Stratified(t_min=0.0)(VP(), Random(5), 1000).sort().values
    assert float(odd.diff().max()) < 2 / 1000


def test_log_normal_draws_have_the_papers_law():
    """arXiv:2206.00364, table 1: log sigma ~ N(-1.2, 1.2^2)."""
    t = LogNormal()(EDM(), Random(0), 5000)
    assert stats.kstest((80 * t).log().numpy(), stats.norm(-1.2, 1.2).cdf).pvalue > 1e-3
