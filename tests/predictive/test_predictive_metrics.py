"""Metrics of predictions: closed forms of a known law, and their floors."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation.crps import crps
from undiffuse.evaluation.metrics.confident_accuracy import ConfidentAccuracy, curve
from undiffuse.evaluation.metrics.judge import collect, find, judge_evidence
from undiffuse.evaluation.metrics.predictive import Predicted
from undiffuse.sampling.predictions import Predictions

RANDOM = np.random.default_rng(0)


def metric(name: str, found: Predictions, targets: np.ndarray) -> float:
    return registry.get("metrics", name)().of(found, targets)


@pytest.fixture(scope="module")
def linear() -> tuple[Predictions, np.ndarray]:
    """The paper's linear toy, y = 2 + 3 x + 2 noise, predicted by its own law."""
    mean = 2 + 3 * RANDOM.uniform(-5, 5, (4096, 1))
    draws = mean[:, None] + 2 * RANDOM.standard_normal((4096, 400, 1))
    return Predictions(draws, ("y",)), mean + 2 * RANDOM.standard_normal(mean.shape)


def test_the_true_law_has_the_optimal_numbers(linear: tuple[Predictions, np.ndarray]):
    found, targets = linear
    assert metric("rmse", found, targets) == pytest.approx(2, abs=0.06)
    assert metric("gaussian_nll", found, targets) == pytest.approx(2.112086, abs=0.03)
    assert metric("picp", found, targets) == pytest.approx(0.95, abs=0.012)
    assert metric("qice", found, targets) < 2 * 0.00529 * math.sqrt(2048 / 4096)
    assert metric("crps", found, targets) == pytest.approx(2 / math.sqrt(math.pi), abs=0.03)


def test_floors_are_what_right_predictions_have(linear: tuple[Predictions, np.ndarray]):
    found, targets = linear
    few = Predicted(Predictions(found.draws[:1000], ("y",)), targets[:1000])
    assert [len(aim) for _, aim in few.pairs()] == [1000] * 4
    assert np.mean([metric("crps", *pair) for pair in few.pairs()]) == pytest.approx(2 / math.sqrt(math.pi), abs=0.05)
    narrow = Predictions(targets[:1000, None] + 10 + 0.1 * RANDOM.standard_normal((1000, 50, 1)), ("y",))
    off = Predicted(narrow, targets[:1000])
    assert metric("rmse", narrow, targets[:1000]) > 50 * np.mean([metric("rmse", *pair) for pair in off.pairs()])


def test_crps_is_that_of_the_draws_exactly():
    draws, targets = RANDOM.standard_normal((7, 13, 2)), RANDOM.standard_normal((7, 2))
    apart = np.abs(draws[:, :, None] - draws[:, None]).mean((1, 2)) / 2
    np.testing.assert_allclose(
        crps(draws.swapaxes(0, 1), targets), np.abs(draws - targets[:, None]).mean(1) - apart, atol=1e-14
    )
    np.testing.assert_allclose(crps(targets[None] + 3, targets), 3, atol=1e-14)


def test_classes_have_chances_intervals_and_a_test():
    from scipy.stats import ttest_rel

    truth = RANDOM.integers(3, size=200)
    draws = np.eye(3)[truth][:, None] + 0.3 * RANDOM.standard_normal((200, 30, 3))
    draws[0] = 0.5 + 0.01 * RANDOM.standard_normal((30, 3))  # nobody knows
    found = Predictions(draws, ("a", "b", "c"), classes=True, name="kind")
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    low, high = found.intervals()
    assert ((low <= found.probabilities) & (found.probabilities <= high)).all()
    first, second = np.sort(found.probabilities, 1)[:, ::-1].T[:2]
    order = np.argsort(-found.probabilities[5])
    tested: Any = ttest_rel(found.chances[5, :, order[0]], found.chances[5, :, order[1]])
    assert found.p_values[5] == pytest.approx(tested.pvalue, rel=1e-9)
    assert found.p_values[1:].max() < 0.05
    assert found.p_values[0] > 1e-4
    assert (first >= second).all()
    targets = np.eye(3)[truth]
    assert metric("class_accuracy", found, targets) > 0.99
    assert metric("log_loss", found, targets) < 0.2
    sure = Predictions(np.eye(3)[truth][:, None].repeat(5, 1), ("a", "b", "c"), classes=True)
    chance = 1 / (1 + 2 * math.exp(-1 / 0.2))
    assert metric("ece", sure, targets) == pytest.approx(1 - chance)
    assert metric("ece", sure, np.roll(targets, 1, axis=1)) == pytest.approx(chance)
    kept = curve(found, targets)
    assert (kept["kept"][0], kept["accuracy"][0]) == (100, metric("class_accuracy", found, targets))
    assert kept["accuracy"][-1] == 1
    evidence: Any = SimpleNamespace(predicted=Predicted(found, targets), seed=0)
    sure = ConfidentAccuracy().judge(evidence)["confident_accuracy"]
    assert sure["value"] == (found.best == truth)[found.p_values < 0.05].mean()
    assert sure["detail"]["kept"] == (found.p_values < 0.05).mean()
    assert found.frame().columns[:3] == ["kind", "kind_p_value", "p_a"]


def test_what_predictions_refuse():
    found = Predictions(np.zeros((2, 3, 1)), ("y",))
    with pytest.raises(Refused, match="quantiles are levels from 0 to 1"):
        found.quantiles([5])
    with pytest.raises(Refused, match="is a number, which has quantiles"):
        found.chances  # noqa: B018


def test_a_chance_that_ends_a_bin_is_in_it():
    """Bins of arXiv:1706.04599 are (low, high]: 0.6 and 0.8 are the ends of two of five."""
    chances, right = np.array([0.6, 0.7, 0.8, 0.9]), np.array([False, True, True, True])
    found: Any = SimpleNamespace(probabilities=np.stack([chances, 1 - chances], 1), best=np.zeros(4, int))
    targets = np.eye(2)[(~right).astype(int)]
    each = [abs(np.sum(right[i] - chances[i])) for i in ([0], [1, 2], [3])]
    assert registry.get("metrics", "ece")(bins=5).of(found, targets) == pytest.approx(sum(each) / 4)


def test_the_frame_has_a_column_for_each_thing_asked():
    found = Predictions(torch.arange(6, dtype=torch.float32).reshape(1, 6, 1).numpy(), ("y",))
    frame = found.frame([0.0, 0.5], samples=True)
    assert frame.columns == ["y_mean", "y_std", "y_q0", "y_q0.5", *(f"y_sample{k}" for k in range(6))]
    assert frame.row(0)[:4] == (2.5, pytest.approx(np.arange(6).std()), 0.0, 2.5)


def test_columns_of_classes_have_names_of_their_own():
    draws = RANDOM.standard_normal((3, 5, 3))
    found = Predictions(draws, ("value", "a", "a_low"), classes=True, name="kind").frame()
    names = ["p_value", "p_value_low", "p_value_high", "p_a", "p_a_low", "p_a_high"]
    assert found.columns == ["kind", "kind_p_value", *names, "p_a_low_", "p_a_low_low", "p_a_low_high"]


def test_dates_are_written_as_dates():
    draws = np.array([[[20000.0], [20001.4], [20003.0]]])
    found = Predictions(draws, ("day",), form="%d.%m.%Y").frame([0.5], samples=True)
    assert found.row(0) == ("05.10.2024", draws.std(), *["05.10.2024"] * 1, "04.10.2024", "05.10.2024", "07.10.2024")


def test_of_classes_only_metrics_of_predictions_come_unasked():
    truth = np.eye(2, dtype=np.float32)[RANDOM.integers(2, size=60)]
    found = Predictions(truth[:, None] + 0.1 * RANDOM.standard_normal((60, 8, 2)), ("a", "b"), classes=True)
    evidence = replace(
        collect(*map(Dataset, (truth[:20], truth[20:40], truth[40:]))), predicted=Predicted(found, truth)
    )
    assert set(judge_evidence(evidence)) == {"class_accuracy", "confident_accuracy", "ece", "log_loss"}
    assert set(judge_evidence(evidence, find(["energy_distance"]), all_asked=True)) == {"energy_distance"}
