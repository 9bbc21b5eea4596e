"""Laws of every schedule: alpha, sigma, log-SNR and time tell one story."""

import copy
import math

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Mixing, Schedule, VarianceExploding, VariancePreserving
from undiffuse.core.tabulated import Tabulated
from undiffuse.schedules import (
    VE,
    VP,
    Cosine,
    EDMSchedule,
    Geometric,
    LinearBeta,
    LogLinear,
    ScaledLinearBeta,
    Sigmoid,
    Sqrt,
    SubVP,
    TableSchedule,
)

INSIDE = torch.linspace(0.001, 1, 500, dtype=torch.float64)


def test_data_has_no_noise(schedule: Schedule):
    zero = torch.zeros((), dtype=torch.float64)
    assert schedule.sigma(zero) == 0
    assert schedule.alpha(zero) == 1
    assert schedule.log_snr(zero) == math.inf


def test_signal_over_noise_falls_strictly(schedule: Schedule):
    alpha, sigma = schedule.alpha(INSIDE), schedule.sigma(INSIDE)
    assert ((alpha / sigma).diff() < 0).all()
    assert (alpha >= 0).all()
    assert (sigma > 0).all()


def test_log_snr_is_the_ratio_of_alpha_and_sigma(schedule: Schedule):
    t = INSIDE[schedule.alpha(INSIDE) > 0]
    torch.testing.assert_close(
        schedule.log_snr(t).exp(), (schedule.alpha(t) / schedule.sigma(t)) ** 2, rtol=1e-9, atol=0
    )


def test_both_at_once_are_alpha_and_sigma(schedule: Schedule):
    for t in (INSIDE, INSIDE[0], INSIDE[-1], torch.zeros((), dtype=torch.float64), torch.tensor([0.25, 1.0])):
        alpha, sigma = schedule.both(t)
        torch.testing.assert_close(alpha, schedule.alpha(t), rtol=1e-14, atol=0)
        torch.testing.assert_close(sigma, schedule.sigma(t), rtol=1e-14, atol=0)


def test_a_single_time_is_found_once_and_copies_know_none(schedule: Schedule):
    """Until others were asked for; a time with a gradient is always found anew."""
    like = torch.zeros(1)
    for t in INSIDE[:9]:
        found = schedule.at(t, like)
        torch.testing.assert_close(found, schedule.both(t), rtol=0, atol=0)
        assert schedule.at(t, like)[1] is found[1]
    with_gradient = INSIDE[8].clone().requires_grad_()
    assert schedule.at(with_gradient, like)[1].requires_grad
    assert len(schedule._last) <= 4
    assert "_last" not in vars(copy.deepcopy(schedule))


def test_time_inverts_log_snr(schedule: Schedule):
    t = INSIDE[schedule.alpha(INSIDE) > 0]
    torch.testing.assert_close(schedule.time(schedule.log_snr(t)), t, rtol=0, atol=1e-9)


def test_time_outside_the_range_is_the_nearest_end(schedule: Schedule):
    levels = torch.tensor([-math.inf, -1e4, 1e4, math.inf], dtype=torch.float64)
    torch.testing.assert_close(
        schedule.time(levels), torch.tensor([1.0, 1, 0, 0], dtype=torch.float64), rtol=0, atol=1e-9
    )


def test_the_own_inverse_equals_the_bisection(schedule: Schedule):
    levels = torch.linspace(float(schedule.log_snr(INSIDE[-1]).clamp(min=-15)), 3, 50, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(levels), Schedule.time(schedule, levels), rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), SubVP(1.0, 1.0)], ids=repr)
def test_the_inverse_in_closed_form_is_exact_near_the_data_too(schedule: Schedule):
    t = torch.logspace(-12, 0, 50, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule.log_snr(t)), t, rtol=1e-13, atol=0)


def test_a_schedule_keeps_its_familys_promise(schedule: Schedule):
    alpha, sigma = schedule.alpha(INSIDE), schedule.sigma(INSIDE)
    sums = {VariancePreserving: alpha**2 + sigma**2, VarianceExploding: alpha, Mixing: alpha + sigma}
    for family, one in sums.items():
        if isinstance(schedule, family):
            torch.testing.assert_close(one, torch.ones_like(one), rtol=0, atol=1e-12)


def test_the_prior_is_as_wide_as_the_noise_at_the_end(schedule: Schedule):
    """q(x_1) of unit-variance data has the prior's width, up to the signal that is left."""
    one = torch.ones((), dtype=torch.float64)
    left = schedule.alpha(one) ** 2 if schedule.alpha(one) < 1 else 1.0
    assert abs(float(schedule.prior_std(one) ** 2 - schedule.sigma(one) ** 2)) <= float(left) + 1e-3


def test_float32_and_scalar_times_give_the_same_numbers_in_float64(schedule: Schedule):
    t = torch.tensor([0.25, 0.5, 0.75])
    for law in (schedule.alpha, schedule.sigma, schedule.log_snr, schedule.prior_std):
        together = law(t)
        assert together.dtype == torch.float64
        assert together.shape == t.shape
        alone = torch.stack([law(u) for u in t])
        assert torch.equal(together, alone)


def test_at_shapes_times_to_multiply_samples(schedule: Schedule):
    x, t = torch.zeros(3, 2, 5), torch.tensor([0.2, 0.6, 1.0])
    alpha, sigma = schedule.at(t, x)
    assert alpha.shape == sigma.shape == (3, 1, 1)
    assert torch.equal(alpha.flatten(), schedule.alpha(t.double()))
    alpha, sigma = schedule.at(0.6, x)
    assert alpha.shape == sigma.shape == ()
    assert float(sigma) == float(schedule.sigma(torch.tensor(0.6, dtype=torch.float64)))


def test_at_refuses_times_that_do_not_fit(schedule: Schedule):
    with pytest.raises(ValueError, match=r"t has shape \(2,\); it must be \(\) or \(3,\), one time a sample"):
        schedule.at(torch.tensor([0.1, 0.2]), torch.zeros(3, 2))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"a time lies outside \[0, 1\] \(0 = data, 1 = noise\)"):
            schedule.at(wrong, torch.zeros(3))


def test_the_networks_index_rises_with_time(schedule: Schedule):
    index = schedule.index(INSIDE)
    assert (index.diff() > 0).all()
    if schedule.steps:
        last = torch.tensor([1 / schedule.steps, 1.0], dtype=torch.float64)
        torch.testing.assert_close(schedule.index(last), torch.tensor([0.0, schedule.steps - 1], dtype=torch.float64))


def test_a_table_is_hit_exactly_at_its_own_times(table: Tabulated):
    t = torch.arange(1, table.steps + 1, dtype=torch.float64) / table.steps
    alpha_bar = torch.from_numpy(table.table())
    torch.testing.assert_close(table.alpha(t) ** 2, alpha_bar, rtol=1e-12, atol=0)
    middle = t[:-1] + 0.5 / table.steps
    torch.testing.assert_close(table.alpha(middle) ** 2, (alpha_bar[1:] + alpha_bar[:-1]) / 2, rtol=1e-9, atol=0)


def test_automatic_differentiation_gives_the_slope_on_and_off_a_tables_times(schedule: Schedule):
    t = torch.tensor(
        [0.25, 0.50037, 0.75], dtype=torch.float64, requires_grad=True
    )  # 0.25 and 0.75 are times of most tables
    (slope,) = torch.autograd.grad((schedule.sigma(t)).sum(), t)
    step = 1e-7
    ahead = (schedule.sigma(t.detach() + step) - schedule.sigma(t.detach())) / step
    torch.testing.assert_close(slope, ahead, rtol=1e-4, atol=1e-5)


@pytest.mark.each(
    ("make", "message"),
    [
        (lambda: LinearBeta(steps=0), "a schedule needs at least 1 step, not 0"),
        (
            lambda: LinearBeta(steps=20),
            r"linear_beta of 20 steps has no betas of its own: .* take schedule.name=cosine schedule.steps=20, or set",
        ),
        (lambda: LinearBeta(steps=10, beta_start=0.1), "linear_beta of 10 steps has no betas of its own"),
        (lambda: LinearBeta(beta_end=1.5), r"betas must satisfy 0 < beta_start, beta_end < 1, not 0.0001 and 1.5"),
        (
            lambda: ScaledLinearBeta(beta_start=-1.0),
            r"betas must satisfy 0 < beta_start, beta_end < 1, not -1 and 0.012",
        ),
        (lambda: Sigmoid(beta_end=0.0), r"betas must satisfy 0 < beta_start, beta_end < 1, not 1e-07 and 0"),
        (lambda: Cosine(offset=-1.0), r"cosine needs offset >= 0 and max_beta in \(0, 1\), not -1 and 0.999"),
        (lambda: Sqrt(max_beta=1.0), r"sqrt needs an offset in \[0, 1\) and max_beta in \(0, 1\), not 0.0001 and 1"),
        (lambda: EDMSchedule(sigma_max=0.0), "edm needs sigma_max > 0, not 0"),
        (lambda: VE(sigma_min=2.0, sigma_max=1.0), "ve needs 0 < sigma_min < sigma_max, not 2 and 1"),
        (lambda: VP(beta_min=0.0), "vp needs 0 < beta_min <= beta_max, not 0 and 20"),
        (lambda: SubVP(beta_max=0.01), "subvp needs 0 < beta_min <= beta_max, not 0.1 and 0.01"),
        (lambda: LogLinear(floor=1.0), r"log_linear needs a floor in \[0, 1\), not 1"),
        (lambda: Geometric(steps=1), "geometric needs 2 levels or more and 0 < sigma_min < sigma_max, not 1 levels"),
        (lambda: TableSchedule(), "table needs betas or alpha_bars, one of the two"),
        (lambda: TableSchedule(betas=(0.1,), alpha_bars=(0.9,)), "table needs betas or alpha_bars, one of the two"),
        (lambda: TableSchedule(betas=(0.1, 1.5)), r"every beta must lie in \(0, 1\]"),
        (
            lambda: TableSchedule(alpha_bars=(0.9, 0.95)),
            "a table of alpha-bars must fall strictly from below 1 and end at 0 or above",
        ),
        (lambda: TableSchedule(alpha_bars=(0.9, math.nan)), "a table of alpha-bars must fall strictly"),
        (
            lambda: TableSchedule(betas=(0.1,), zero_terminal_snr=True),
            "zero_terminal_snr needs a table of 2 steps or more",
        ),
    ],
)
def test_meaningless_schedules_are_refused(make: object, message: str):
    with pytest.raises(Refused, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("steps", [21, 50, 100, 1000, 4000])
def test_linear_beta_destroys_as_much_in_any_number_of_steps(steps: int):
    """Improved DDPM's code: beta from scale 1e-4 to scale 0.02 with scale = 1000/T. What is said goes before it."""
    schedule = LinearBeta(steps)
    betas = torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(schedule.table()), (1 - betas).cumprod(0), rtol=1e-12, atol=0)
    assert float(schedule.alpha(torch.tensor(1.0))) < 0.007
    assert LinearBeta(5, 0.1, 0.9).table()[0] == pytest.approx(0.9)
    assert LinearBeta(100, beta_end=0.02).beta_end == 0.02
    assert LinearBeta() == LinearBeta(1000, 1e-4, 0.02)
