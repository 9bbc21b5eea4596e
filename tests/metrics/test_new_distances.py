"""Density, coverage, C2ST, energy, columns, extrapolated Frechet distance, Inception score: their closed forms."""

import math

import numpy as np
import pytest

from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.digits import Digits
from undiffuse.evaluation.metrics.c2st import C2ST, c2st, standard_error
from undiffuse.evaluation.metrics.classifier import train_classifier
from undiffuse.evaluation.metrics.columns import ColumnsMetric, wasserstein
from undiffuse.evaluation.metrics.density_coverage import density_coverage
from undiffuse.evaluation.metrics.distances import covered, radii
from undiffuse.evaluation.metrics.energy_distance import EnergyDistance, energy
from undiffuse.evaluation.metrics.evidence import Parts
from undiffuse.evaluation.metrics.frechet import frechet, frechet_gaussians, gaussian
from undiffuse.evaluation.metrics.frechet_infinity import PARTS, FrechetInfinity, intercept
from undiffuse.evaluation.metrics.inception_score import InceptionScore, inception_scores
from undiffuse.evaluation.metrics.judge import collect, judge


def normal(count: int, features: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, features))


def table(count: int, seed: int, *, move: float = 0.0) -> Dataset:
    """Columns of unlike units; `move` pushes the second, in its deviations."""
    x = normal(count, 3, seed)
    x[:, 1] += move
    return Dataset((x * [1, 100, 0.01] + [0, 5, 9]).astype(np.float32), columns=("age", "income", "share"))


LINE = np.array([[0.0], [1.0], [2.0], [10.0]])  # nearest neighbours at 1, 1, 1 and 8


@pytest.mark.parametrize(
    ("samples", "density", "coverage"),
    [
        ([0.5], 2.0, 0.5),  # inside the balls around 0 and 1
        ([0.5, 100.0], 1.0, 0.5),
        ([0.5, 1.5, 9.0], 5 / 3, 1.0),  # two balls each, the last one only that around 10
        ([100.0], 0.0, 0.0),
        ([1.0], 3.0, 0.75),  # on the edges of two balls, which belong to them
    ],
)
def test_density_and_coverage_of_points_on_a_line(samples: list[float], density: float, coverage: float):
    found = density_coverage(LINE, np.array(samples)[:, None], neighbours=1)
    assert found == pytest.approx((density, coverage))


def test_a_sets_own_density_and_coverage():
    # each item lies in its own ball and is the neighbour of k others on average; new ones cover 1 - 2^-k
    x = normal(400)
    density, coverage = density_coverage(x, x)
    assert density == pytest.approx(1 + 1 / 5)
    assert coverage == 1
    found = [density_coverage(normal(400, seed=2 * i), normal(400, seed=2 * i + 1), 3) for i in range(1, 20)]
    assert np.mean(found, axis=0) == pytest.approx((1, 1 - 2**-3), abs=0.02)


def test_one_outlier_spoils_neither_density_nor_coverage():
    near = normal(200, 2)
    outlier = np.concatenate([near, [[1000.0, 0], [-1000.0, 0]]])  # two huge balls, around nothing
    invented = normal(200, 2, seed=1) + np.array([500, 0])
    density, coverage = density_coverage(outlier, invented)
    assert density < 0.5
    assert coverage < 0.02


def test_energy_of_hand_made_points():
    x, y = np.array([[0.0], [1.0]]), np.array([[3.0]])
    assert energy(x, y) == pytest.approx(2 * 2.5 - 0.5 - 0)
    assert energy(x, x) == 0
    assert energy(np.repeat(x, 3, axis=0), x) == pytest.approx(0, abs=1e-15)  # laws are compared, not lists
    assert energy(x, y) == energy(y, x)


@pytest.mark.parametrize("move", [0.0, 0.5, 2.0])
def test_energy_of_gaussians_meets_its_closed_form(move: float):
    # x - y ~ N(move, 2): E|x - y| = 2/sqrt(pi) exp(-move^2/4) + move erf(move/2)
    apart = 2 / math.sqrt(math.pi) * math.exp(-(move**2) / 4) + move * math.erf(move / 2)
    expected = 2 * apart - 4 / math.sqrt(math.pi)
    found = energy(normal(4000, 1), normal(4000, 1, seed=1) + move)
    assert found == pytest.approx(expected, rel=0.05, abs=0.002)
    assert found >= 0


def test_energy_in_one_dimension_is_twice_the_squared_distance_of_the_distribution_functions():
    x, y = normal(60, 1), normal(40, 1, seed=1) * 2
    both = np.sort(np.concatenate([x, y])[:, 0])
    steps = [np.searchsorted(np.sort(part[:, 0]), both[:-1], side="right") / len(part) for part in (x, y)]
    assert energy(x, y) == pytest.approx(2 * (np.diff(both) * (steps[0] - steps[1]) ** 2).sum(), rel=1e-10)


def test_columns_travel_as_far_as_they_were_moved_or_stretched():
    x = normal(500, 2)
    assert wasserstein(x, x + np.array([0.5, -3])) == pytest.approx([0.5, 3])
    assert wasserstein(x, np.repeat(x, 2, axis=0)) == pytest.approx([0, 0], abs=1e-12)
    wide = wasserstein(normal(40_000, 1), 3 * normal(40_000, 1, seed=1))
    assert wide == pytest.approx([2 * math.sqrt(2 / math.pi)], rel=0.03)  # |3 - 1| E|z|


def test_the_worst_column_is_named_first():
    evidence = collect(table(400, 0, move=0.8), table(400, 1), table(400, 2))
    found = ColumnsMetric().judge(evidence)["columns"]
    columns = found["detail"]["columns"]
    assert next(iter(columns)) == "income"
    assert sorted(columns) == ["age", "income", "share"]
    assert columns["income"]["value"] == pytest.approx(0.8, abs=0.2)
    assert columns["age"]["value"] < 0.25
    assert found["value"] == pytest.approx(np.mean([each["value"] for each in columns.values()]))
    assert EnergyDistance().judge(evidence)["energy_distance"]["ratio"] > 5


def test_columns_without_names_are_counted_and_constant_ones_are_said():
    parts = [np.hstack([normal(50, 1, seed), np.full((50, 1), 4.0)]).astype(np.float32) for seed in range(3)]
    parts[0][:, 1] = 6
    found = ColumnsMetric().judge(collect(*map(Dataset, parts)))["columns"]
    assert found["detail"]["columns"]["column 1"] == {"value": pytest.approx(2), "floor": 0}
    assert found["warning"] == "constant in the training data: column 1"


def test_who_cannot_tell_guesses_and_who_can_is_right():
    random = np.random.default_rng(0)
    blind = [c2st(normal(200, seed=2 * i), normal(200, seed=2 * i + 1), random) for i in range(12)]
    assert np.mean(blind) == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(400 * 12))
    assert c2st(normal(200), normal(200, seed=1) + 50, random) == 1
    assert c2st(np.ones((50, 2)), np.ones((50, 2)), random) == pytest.approx(0.5, abs=0.01)


def test_the_best_possible_classifier_bounds_what_can_be_told():
    # N(0, 1) and N(m, 1) in equal shares: nobody is right more often than Phi(m / 2)
    m = 2.0
    best = 0.5 * (1 + math.erf(m / 2 / math.sqrt(2)))
    found = c2st(normal(2000, 1), normal(2000, 1, seed=1) + m, np.random.default_rng(0))
    assert found == pytest.approx(best, abs=0.015)


def test_c2st_says_its_standard_error_and_its_floor():
    digits = Digits().load()
    parts = [digits.take(np.arange(i, 1797, 3)) for i in range(3)]
    found = C2ST().judge(collect(*parts))["c2st"]
    error = found["detail"]["standard_error"]
    assert error == pytest.approx(0.5 * math.sqrt((1 + 2 / math.pi) / (2 * found["count"])))
    assert found["value"] == pytest.approx(0.5, abs=3 * error)
    assert found["floor"] == pytest.approx(0.5, abs=3 * error)


@pytest.mark.parametrize("features", [2, 20])
def test_the_standard_error_of_c2st_is_its_deviation_over_many_draws(features: int):
    random = np.random.default_rng(1)
    draws = random.normal(size=(200, 2, 60, features)).astype(np.float32)
    found = [c2st(x, y, random) for x, y in draws]
    # of 200 draws a deviation is known to 5 %; of independent halves it would be 0.78 of this
    assert np.std(found) / standard_error(60) == pytest.approx(1, abs=0.12)


def test_noise_of_one_law_meets_its_floor_and_a_floor_of_two_laws_is_doubted():
    random = np.random.default_rng(0)
    noise = [Dataset(random.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8)) for n in (300, 300, 600)]
    found = judge(*noise, metrics=["frechet", "c2st", "precision_recall"])
    assert found["frechet"]["ratio"] == pytest.approx(1, abs=0.15)
    assert found["c2st"]["floor"] == pytest.approx(0.5, abs=3 * found["c2st"]["detail"]["floor_standard_error"])
    assert found["precision"]["ratio"] == pytest.approx(1, abs=0.1)
    other = Dataset((np.asarray(noise[2].x) // 2).astype(np.uint8))  # a training part of another law
    doubted = judge(noise[0], noise[1], other, metrics=["frechet", "c2st"])
    assert all("floor contradicts itself" in verdict["warning"] for verdict in doubted.values())


def test_an_offset_puts_nothing_inside_a_ball():
    random = np.random.default_rng(0)
    x, centres = random.normal(size=(2, 200, 3)).astype(np.float32)
    inside_there = covered(x, centres, np.full(200, 0.1**2, np.float32))
    assert 0 < inside_there.mean() < 0.5
    for offset in (1e3, 1e4):
        moved = covered(x + np.float32(offset), centres + np.float32(offset), np.full(200, 0.1**2, np.float32))
        assert (moved != inside_there).mean() < 0.03  # float32 rounds the moved points themselves
        assert radii(centres + np.float32(offset), 3) == pytest.approx(radii(centres, 3), rel=0.05, abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_kept_classifier_reads_as_scikit_learns_machine(classes: int):
    from sklearn.svm import SVC

    digits = Digits().load()
    chosen = digits.labels < classes  # type: ignore[operator]
    x, labels = digits.x[chosen].reshape(chosen.sum(), -1).astype(np.float32), digits.labels[chosen]  # type: ignore[index]
    reader = train_classifier(x[::2], labels[::2])
    project = (x - reader.arrays["mean"]) @ reader.arrays["axes"]
    machine = SVC(C=10.0, gamma=float(reader.arrays["width"])).fit(  # pyright: ignore[reportArgumentType]
        project[::2].astype(float), labels[::2]
    )
    assert (reader(x) == machine.predict(project.astype(float))).mean() > 0.999


def test_a_straight_line_is_continued_to_its_start():
    x = np.array([1.0, 2, 2, 4])
    assert intercept(x, 3 + 2 * x) == pytest.approx((3, 0), abs=1e-9)
    noisy = [intercept(x, 3 + 2 * x + normal(1, 4, seed)[0]) for seed in range(3000)]
    values, errors = np.array(noisy).T
    assert values.mean() == pytest.approx(3, abs=0.1)
    assert values.std() == pytest.approx(math.sqrt((errors**2).mean()), rel=0.1)


@pytest.mark.parametrize("move", [0.0, 0.5])
def test_extrapolated_distances_lose_the_bias(move: float):
    def both(seed: int) -> tuple[float, float, float]:
        x, y = normal(200, 6, 2 * seed) + move, normal(200, 6, 2 * seed + 1)
        sizes = [200 // parts for parts in PARTS for _ in range(parts)]
        starts = [i * (200 // parts) for parts in PARTS for i in range(parts)]
        found = [frechet(x[i : i + n], y[i : i + n]) for i, n in zip(starts, sizes, strict=True)]
        return (found[0], *intercept(1 / np.array(sizes), np.array(found)))

    plain, infinite, error = np.mean([both(seed) for seed in range(60)], axis=0)
    true = 6 * move**2
    spread = np.std([both(seed)[1] for seed in range(60)])
    assert infinite == pytest.approx(true, abs=float(3 * spread / math.sqrt(60)))
    assert plain - true > 0.1  # what 200 items add
    assert 1 < error / spread < 3.5  # said to be up to about twice too large


def test_infinite_samples_of_real_data_come_to_nothing():
    digits = Digits().load()
    parts = [digits.take(np.arange(i, 1797, 3)) for i in range(3)]
    found = FrechetInfinity().judge(collect(*parts))["frechet_infinity"]
    assert found["ratio"] is None
    for value, error in (("value", "standard_error"), ("floor", "floor_standard_error")):
        assert abs(found[value]) < 2 * found["detail"][error]
    assert found["detail"]["sizes"] == [300, 150, 75]  # half of the training third fits the features
    few = collect(*[part.take(np.arange(39)) for part in parts])
    assert not FrechetInfinity().applies(few)


def test_frechet_of_few_items_in_many_features_is_the_same_number():
    x, y = normal(30, 50), 2 * normal(20, 50, seed=1) + 1
    assert frechet(x, y) == pytest.approx(frechet_gaussians(*gaussian(x), *gaussian(y)), rel=1e-6)


def test_frechet_of_many_features_is_the_same_number_even_where_some_never_change():
    x, y = normal(400, 300), 1.5 * normal(400, 300, seed=1)
    x[:, 250:], y[:, 280:] = 0, 0
    one, two = gaussian(x), gaussian(y)
    values, vectors = np.linalg.eigh(two.cov)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ one.cov @ root), 0)).sum()
    expected = ((one.mean - two.mean) ** 2).sum() + np.trace(one.cov + two.cov) - 2 * cross
    assert frechet(x, y) == pytest.approx(expected, rel=1e-5)
    assert frechet(x, x) == pytest.approx(0, abs=1e-4 * np.trace(one.cov))


def test_the_inception_score_counts_classes():
    certain = np.eye(5)[np.arange(100) % 5]
    assert inception_scores(certain, 4) == pytest.approx(5 * np.ones(4))
    assert inception_scores(np.full((100, 5), 0.2)) == pytest.approx(np.ones(10))
    assert inception_scores(np.tile([0.7, 0.2, 0.1], (50, 1))) == pytest.approx(np.ones(10))


def test_items_sorted_by_class_have_the_inception_score_of_all_classes():
    evidence = collect(*(Dataset(normal(count, 2, count)) for count in (1000, 1200, 1100)))
    rows = [np.eye(5)[np.arange(count) * 5 // count] for count in (1000, 1200, 1100)]
    vars(evidence)["probabilities"] = Parts(*rows)
    found = InceptionScore().judge(evidence)["inception_score"]
    assert (found["value"], found["floor"]) == pytest.approx((5, 5), abs=0.3)
