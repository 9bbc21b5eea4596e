"""Every distance meets its closed form, its limits and its bias."""

import numpy as np
import pytest

from undiffuse.evaluation.features.components import fit_projection
from undiffuse.evaluation.metrics import distances
from undiffuse.evaluation.metrics.distances import covered, nearest, radii
from undiffuse.evaluation.metrics.frechet import frechet, frechet_gaussians
from undiffuse.evaluation.metrics.kernel import kernel_distance, mmd_squared
from undiffuse.evaluation.metrics.precision_recall import precision_recall
from undiffuse.evaluation.metrics.sliced_wasserstein import sliced_wasserstein


def normal(count: int, features: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features))


def covariance(features: int, seed: int, rank: int | None = None) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(features, rank or features))
    return root @ root.T


def test_frechet_of_diagonal_gaussians_is_the_distance_of_means_and_deviations():
    mean_1, mean_2, std_1, std_2 = np.abs(np.random.default_rng(0).normal(size=(4, 5)))
    expected = ((mean_1 - mean_2) ** 2 + (std_1 - std_2) ** 2).sum()
    found = frechet_gaussians(mean_1, np.diag(std_1**2), mean_2, np.diag(std_2**2))
    assert found == pytest.approx(expected, rel=1e-12)


def test_frechet_agrees_with_a_matrix_square_root_in_many_digits():
    import mpmath

    c_1, c_2 = covariance(4, 1), covariance(4, 2)
    with mpmath.workdps(40):
        root = mpmath.sqrtm(mpmath.matrix(c_1.tolist()) * mpmath.matrix(c_2.tolist()))
        cross = float(mpmath.re(sum(root[i, i] for i in range(4))))
    zero = np.zeros(4)
    assert frechet_gaussians(zero, c_1, zero, c_2) == pytest.approx(np.trace(c_1 + c_2) - 2 * cross, rel=1e-10)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_frechet_is_symmetric_and_zero_on_itself_even_where_covariances_are_singular(rank: int):
    zero, c_1, c_2 = np.zeros(6), covariance(6, 1, rank), covariance(6, 2)
    assert frechet_gaussians(zero, c_1, zero, c_1) == pytest.approx(0, abs=1e-6 * np.trace(c_1))
    one, two = frechet_gaussians(zero, c_1, zero, c_2), frechet_gaussians(zero, c_2, zero, c_1)
    assert one == pytest.approx(two, rel=1e-6)


def test_frechet_of_moved_and_stretched_points_is_exact():
    x = normal(500)
    moved = x + np.array([3.0, 0, -4, 0])
    assert frechet(x, moved) == pytest.approx(25, rel=1e-9)
    stretched = 2 * (x - x.mean(0)) + x.mean(0)
    assert frechet(x, stretched) == pytest.approx(np.trace(np.cov(x, rowvar=False)), rel=1e-9)
    assert frechet(x[:, :1], x[:, :1] + 2) == pytest.approx(4, rel=1e-9)


def test_frechet_of_the_same_law_shrinks_as_one_over_the_count():
    def mean_distance(count: int) -> float:
        return float(np.mean([frechet(normal(count, seed=2 * i), normal(count, seed=2 * i + 1)) for i in range(30)]))

    assert mean_distance(200) / mean_distance(800) == pytest.approx(4, rel=0.25)


def test_kernel_distance_is_unbiased():
    found = np.array([mmd_squared(normal(60, seed=2 * i), normal(40, seed=2 * i + 1)) for i in range(300)])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert (found < 0).mean() > 0.25  # an estimate that cannot be negative would be biased


def test_kernel_distance_meets_its_closed_form_in_one_dimension():
    # (xy + 1)^3 has the features x^3, sqrt(3) x^2, sqrt(3) x, 1: of N(0, 1) and N(m, 1) the moments differ by these
    m = 0.7
    expected = (m**3 + 3 * m) ** 2 + 3 * m**4 + 3 * m**2
    found = np.array([mmd_squared(normal(300, 1, 2 * i), normal(300, 1, 2 * i + 1) + m) for i in range(100)])
    assert found.mean() == pytest.approx(expected, abs=3 * found.std() / 10)


def test_the_kernel_distances_standard_error_is_about_right():
    found = np.array([kernel_distance(normal(200, seed=2 * i), normal(200, seed=2 * i + 1) + 0.5) for i in range(40)])
    actual, reported = found[:, 0].std(), found[:, 1].mean()
    assert 0.6 < reported / actual < 1.8


def test_a_set_has_all_precision_and_recall_of_itself():
    assert precision_recall(normal(300), normal(300)) == (1.0, 1.0)
    doubled = np.repeat(normal(50), 6, axis=0)  # so many copies that every ball has radius 0
    assert precision_recall(doubled, doubled) == (1.0, 1.0)


def test_a_lost_cluster_costs_recall_and_an_invented_one_precision():
    near, far = normal(400, 2), normal(400, 2, seed=1) + 50
    again = normal(400, 2, seed=2)
    precision, recall = precision_recall(np.concatenate([near, far]), again)
    assert precision > 0.95
    assert 0.45 < recall < 0.5
    precision, recall = precision_recall(near, np.concatenate([again, far]))
    assert 0.45 < precision < 0.5
    assert recall > 0.95


def test_brute_force_finds_what_a_loop_finds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(distances, "BLOCK", 100)  # many blocks, the last one shorter
    x, y = normal(37, 3), normal(23, 3, seed=1)
    table = np.linalg.norm(x[:, None] - y, axis=2)
    distance, index = nearest(x, y)
    np.testing.assert_array_equal(index, table.argmin(1))
    np.testing.assert_allclose(distance, table.min(1), rtol=1e-12)
    own = np.sort(np.linalg.norm(x[:, None] - x, axis=2), axis=1)
    np.testing.assert_allclose(radii(x, 3), own[:, 3] ** 2, rtol=1e-9)
    np.testing.assert_array_equal(covered(x, y, np.full(23, 0.8**2)), (table < 0.8).any(1))


def test_a_copy_is_at_distance_zero_in_single_precision_too():
    y = (normal(50, 784) + 30).astype(np.float32)
    distance, index = nearest(y[::-1].copy(), y)
    assert (distance == 0).all()
    np.testing.assert_array_equal(index, np.arange(50)[::-1])


@pytest.mark.parametrize("features", [1, 2, 5])
def test_moved_points_are_as_far_as_they_were_moved(features: int):
    x, move = normal(200, features), np.arange(1.0, features + 1)
    found = sliced_wasserstein(x, x + move, directions=4000 if features > 2 else 64)
    exact = features <= 2
    assert found == pytest.approx(np.linalg.norm(move) / np.sqrt(features), rel=1e-9 if exact else 0.03)


def test_sliced_wasserstein_meets_the_gaussians_closed_form():
    x, y = normal(10_000, 2), 2 * normal(10_000, 2, seed=1)
    assert sliced_wasserstein(x, y) == pytest.approx(1, abs=0.02)  # |2 - 1| in every direction


def test_unequal_counts_compare_whole_laws():
    x, y = normal(90, 2), normal(70, 2, seed=1)
    equal = sliced_wasserstein(np.repeat(x, 7, axis=0), np.repeat(y, 9, axis=0))
    assert sliced_wasserstein(x, y) == pytest.approx(equal, rel=1e-12)
    assert sliced_wasserstein(x, np.repeat(x, 3, axis=0)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("count", "features"), [(400, 30), (25, 60)])
def test_principal_components_are_the_directions_of_most_variance(count: int, features: int):
    x = (normal(count, features) * np.linspace(3, 0.1, features) + 5).astype(np.float32)
    found = fit_projection(x, 10)
    variance = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / count
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(10), atol=1e-4)
    np.testing.assert_allclose(found.variance[::-1], variance[:10], rtol=1e-3)
    np.testing.assert_allclose(found(x).var(0)[::-1], variance[:10], rtol=1e-3)
    assert found.explained == pytest.approx(variance[:10].sum() / variance.sum(), rel=1e-3)


def test_constant_pixels_have_no_components():
    x = np.concatenate([normal(100, 3), np.ones((100, 5))], axis=1).astype(np.float32)
    assert fit_projection(x, 64).components == 3
    assert fit_projection(np.ones((100, 5), np.float32), 64).components == 1
