"""Laws of every grid of times and of every draw of training times, on every schedule."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.schedule import Schedule
from undiffuse.core.tabulated import Tabulated
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.grids.even import Even
from undiffuse.grids.karras import Karras
from undiffuse.grids.leading import Leading
from undiffuse.grids.linspace import Linspace
from undiffuse.grids.listed import Listed
from undiffuse.grids.log_snr import LogSNR
from undiffuse.grids.logistic import Logistic
from undiffuse.grids.quadratic import Quadratic
from undiffuse.grids.trailing import Trailing
from undiffuse.samplers import Heun
from undiffuse.schedules import JSD, VE, VP, EDMSchedule, FlowSchedule, Geometric, LinearBeta, TableSchedule
from undiffuse.time_distributions.log_normal import LogNormal
from undiffuse.time_distributions.log_uniform import LogUniform
from undiffuse.time_distributions.stratified import Stratified
from undiffuse.time_distributions.uniform import Uniform


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
    known = ("would visit a step twice", "would see the cleanest step only", "steps are listed, not", "was found for")
    assert all(any(words in refusal for words in known) for refusal in refusals)


@pytest.mark.parametrize("kind", [Logistic, Even])
def test_the_default_grids_fall_strictly_on_every_schedule_with_1_to_1000_steps(kind: type[Grid], schedule: Schedule):
    """Where a schedule jumps at 0 there is no noise below its lowest, and a grid of many steps would ask for it."""
    for steps in (*range(1, 8), 18, 20, 32, 43, 50, 64, 100, 250, 999, 1000):
        times = kind()(schedule, steps)
        assert times.shape == (steps + 1,)
        assert float(times[0]) == 1
        assert float(times[-1]) == 0
        assert bool((times.diff() < 0).all()), steps


@pytest.mark.parametrize("schedule", [VE(), VE(sigma_max=10.0), Geometric(24, 0.01, 9.63)], ids=repr)
def test_many_steps_on_a_schedule_that_jumps_end_at_its_lowest_noise_and_few_above_it(schedule: Schedule):
    least = float(schedule.sigma(torch.tensor(1e-12, dtype=torch.float64)))
    assert float(schedule.sigma(Logistic()(schedule, 500))[-2]) == pytest.approx(least)
    grid = Logistic()
    few = schedule.sigma(grid(schedule, 20))[:-1]
    quantile = torch.sigmoid((few / grid.center).log() / grid.spread)
    even = 1 - torch.arange(20, dtype=torch.float64) / (19 + grid.last)
    torch.testing.assert_close(quantile / quantile[0], even)
    x = sample(GaussianOracle(Gaussian(schedule), 0.0, 0.25), (4000, 1), sampler=Heun(), steps=60)
    assert (float(x.mean()), float(x.std())) == pytest.approx((0.0, 0.5), abs=0.03)


@pytest.mark.parametrize("field", ["center", "spread", "last"])
def test_a_logistic_grid_needs_numbers_above_0(field: str):
    with pytest.raises(Refused, match="logistic needs center, spread and last above 0, not"):
        Logistic(**{field: 0.0})


@pytest.mark.parametrize("schedule", [VE(), Geometric(10, 0.01, 1.0)], ids=repr)
def test_a_noise_below_the_lowest_is_the_lowest_and_none_is_data(schedule: Schedule):
    levels = torch.tensor([1e-5, 1e-3, 0.0], dtype=torch.float64)
    times = schedule.time(-2 * levels.log())
    least = float(schedule.sigma(torch.tensor(1e-12, dtype=torch.float64)))
    assert schedule.sigma(times).tolist() == pytest.approx([least, least, 0.0])


def test_a_time_outside_by_rounding_is_the_end():
    process, x = Gaussian(VP()), torch.ones(2, 1, dtype=torch.float64)
    for t, end in ((1 + 1e-15, 1.0), (-1e-15, 0.0), (torch.tensor([1 + 1e-15, 0.5]).double(), torch.tensor([1, 0.5]))):
        assert torch.equal(process.marginal(x, t).mean, process.marginal(x, end).mean)
    grid = torch.tensor([1 + 1e-15, 0.5, 0.0], dtype=torch.float64)
    oracle = GaussianOracle(process)
    assert torch.equal(sample(oracle, (2, 1), times=grid), sample(oracle, (2, 1), times=torch.tensor([1.0, 0.5, 0.0])))
    assert float(Listed((1 + 1e-15, 0.5, 0.0))(VP(), 2)[0]) == 1
    for wrong in (1.001, -0.001, math.nan):
        with pytest.raises(ValueError, match="a time lies outside"):
            process.marginal(x, wrong)


@pytest.mark.parametrize("steps", [1, 3, 10, 1000, 4000, 1_000_000])
def test_the_step_of_a_time_is_its_own_in_float32_and_the_next_noisier_one_between(steps: int):
    i = torch.arange(0, steps + 1, max(1, steps // 4000))
    own = JSD(steps=steps)
    one, single = torch.tensor(1.0), i.float()
    for times in (i.double() / steps, (i.double() / steps).float(), single / steps, single * (one / steps), i / steps):
        assert torch.equal(own.step(times), i)
    if steps <= 4000:
        assert torch.equal(own.step(1 - single / steps), steps - i)  # rounded as a number near 1
    between = (i[:-1].double() + 0.5) / steps
    assert torch.equal(own.step(between), i[:-1] + 1)
    assert [int(own.step(t)) for t in (0.0, 1e-12, 1.0)] == [0, 1, steps]


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
        Trailing()(TableSchedule(betas=(0.1, 0.2, 0.3)), 5)
    with pytest.raises(Refused, match="leading has at most 3 steps here, not 4"):
        Leading()(TableSchedule(betas=(0.1, 0.2, 0.3)), 4)


@pytest.mark.parametrize("schedule", [VP(), FlowSchedule(), EDMSchedule(), LinearBeta()])
def test_log_snr_grid_is_even_in_log_snr(schedule: Schedule):
    times = LogSNR(t_min=0.01)(schedule, 12)
    levels = schedule.log_snr(times[1:-1])
    torch.testing.assert_close(levels.diff(), levels.diff().mean().expand(10), rtol=1e-6, atol=0)
    assert times[0] == 1
    assert float(times[-2]) == pytest.approx(0.01, abs=1e-9)


@pytest.mark.parametrize("schedule", [VP(), FlowSchedule(), VE(), LinearBeta()])
def test_karras_grid_has_the_papers_ratios_and_stays_in_range(schedule: Schedule):
    times = Karras()(schedule, 9)
    ratio = (-schedule.log_snr(times[:-1]) / 2).exp()
    top = min(80.0, float((-schedule.log_snr(torch.tensor(1.0).double()) / 2).exp()))
    low = 0.01 if isinstance(schedule, VE) else 0.002  # VE has no noise below its sigma_min
    wanted = (top ** (1 / 7) + np.arange(9) / 8 * (low ** (1 / 7) - top ** (1 / 7))) ** 7
    torch.testing.assert_close(ratio, torch.from_numpy(wanted), rtol=1e-6, atol=0)


def test_draws_lie_in_range_and_on_the_table(draw: TimeDistribution, schedule: Schedule):
    t = draw(schedule, Random(3), 500)
    assert t.shape == (500,)
    assert t.dtype == torch.float64
    assert ((t > 0) & (t <= 1)).all()
    assert len(t.unique()) > min(400, (schedule.steps or 1000)) / 4
    if schedule.steps:
        assert ((t * schedule.steps).round() - t * schedule.steps).abs().max() < 1e-9


def test_log_uniform_draws_the_table_s_own_levels_each_for_the_log_snr_around_it(table: Tabulated):
    """Each level stands for half the way to either neighbour, so that a mean is that of the trapezoidal rule."""
    draw, n = LogUniform(limit=1000.0), 40000
    t = draw(table, Random(0), n)
    levels = table.log_snr(torch.arange(1, table.steps + 1, dtype=torch.float64) / table.steps).clamp(-1000, 1000)
    lengths = -levels.diff()
    share = (torch.nn.functional.pad(lengths, (0, 1)) + torch.nn.functional.pad(lengths, (1, 0))) / 2
    share = share / share.sum()
    counts = torch.bincount((t * table.steps).round().long() - 1, minlength=table.steps).double() / n
    spread = (share * (1 - share) / n).sqrt()
    assert bool(((counts - share).abs() <= 5 * spread + 2 / n).all())
    late = LogUniform(t_min=0.5)(table, Random(0), 100)
    assert float(late.min()) >= 0.5


def test_a_draw_depends_on_the_stream_only(draw: TimeDistribution):
    assert torch.equal(draw(VP(), Random(3), 64), draw(VP(), Random(3), 64))
    assert not torch.equal(draw(VP(), Random(3), 64), draw(VP(), Random(4), 64))


def test_a_sample_draws_the_same_in_any_part_of_a_batch(draw: TimeDistribution):
    whole = draw(VP(), Random(3, torch.arange(48)), 48)
    for rows in (slice(0, 24), slice(24, 48), slice(7, 11)):
        assert torch.equal(draw(VP(), Random(3, torch.arange(48)[rows]), rows.stop - rows.start), whole[rows])
    assert torch.equal(draw(VP(), Random(3), 48), whole)


def test_uniform_draws_hit_every_step_of_a_table_alike():
    t = Uniform()(TableSchedule(betas=(0.1, 0.2, 0.3, 0.4)), Random(0), 20000)
    counts = torch.bincount((t * 4).round().long(), minlength=5)[1:]
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert stats.kstest(Uniform(t_min=0.2)(VP(), Random(0), 5000).numpy(), stats.uniform(0.2, 0.8).cdf).pvalue > 1e-3


def test_uniform_draws_can_have_the_ends_themselves_among_them():
    t = Uniform(t_min=0.2, ends=0.1)(VP(), Random(0), 5000)
    assert [float((t == end).double().mean()) for end in (0.2, 1.0)] == pytest.approx([0.1, 0.1], abs=0.02)
    between = t[(t > 0.2) & (t < 1)]
    assert stats.kstest(between.numpy(), stats.uniform(0.2, 0.8).cdf).pvalue > 1e-3
    with pytest.raises(Refused, match=r"a share of 0 or more, below a half, at each end, not 0\.5"):
        Uniform(ends=0.5)


def test_stratified_draws_put_one_in_each_stratum():
    t = Stratified(t_min=0.0)(VP(), Random(5), 64)
    for part in (t, t[:32], t[32:], t[16:32]):
        assert torch.equal((part * len(part)).floor().long().sort().values, torch.arange(len(part)))
    odd = Stratified(t_min=0.0)(VP(), Random(5), 1000).sort().values
    assert float(odd.diff().max()) < 2 / 1000


def test_log_normal_draws_have_the_papers_law():
    """arXiv:2206.00364, table 1: log sigma ~ N(-1.2, 1.2^2)."""
    t = LogNormal()(EDMSchedule(), Random(0), 5000)
    assert stats.kstest((80 * t).log().numpy(), stats.norm(-1.2, 1.2).cdf).pvalue > 1e-3
