"""The continuous ranked probability score against its definition, its closed form and its own average."""

import numpy as np
import pytest

from undiffuse.evaluation.crps import crps, crps_expected, crps_normal


def test_it_is_the_integral_of_the_squared_distance_of_distribution_functions():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(7, 3)), random.normal(size=3)
    z = np.linspace(-8, 8, 20_001)
    for i in range(3):
        below = (x[:, i, None] <= z).mean(0)
        assert crps(x, y)[i] == pytest.approx(np.trapezoid((below - (y[i] <= z)) ** 2, z), abs=2e-3)
    assert crps(x, y) == pytest.approx(np.abs(x - y).mean(0) - np.abs(x[:, None] - x[None]).mean((0, 1)) / 2, abs=1e-12)


def test_one_draw_has_the_absolute_error_and_the_truth_has_none():
    assert crps(np.array([[3.0]]), np.array([1.0])) == pytest.approx([2.0])
    assert crps(np.full((5, 2), 4.0), np.full(2, 4.0)) == pytest.approx([0, 0])


def test_of_many_normal_draws_it_is_the_closed_form():
    x = np.random.default_rng(1).normal(2.0, 3.0, (100_000, 1))
    for y in (-4.0, 2.0, 9.0):
        assert float(crps(x, np.array([y]))[0]) == pytest.approx(float(crps_normal(2.0, 3.0, y)), rel=0.01)
    assert float(crps_normal(1.0, 0.0, 3.5)) == 2.5


def test_what_is_expected_of_the_right_law_is_what_it_has():
    random = np.random.default_rng(2)
    x, y = random.normal(size=(10, 20_000)), random.normal(size=20_000)
    assert crps(x, y).mean() == pytest.approx(crps_expected(x).mean(), rel=0.02)
    assert crps(x, 3 * y).mean() > 1.5 * crps_expected(x).mean()
    assert np.isnan(crps_expected(x[:1])).all()
