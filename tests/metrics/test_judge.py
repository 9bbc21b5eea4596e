"""Real data judged as samples meet their floors; each way to be wrong is caught by the metric meant for it."""

import json
from typing import Any

import numpy as np
import pytest

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.digits import Digits
from undiffuse.data.toys.eight_gaussians import EightGaussians
from undiffuse.evaluation.metrics.agreement import Agreement
from undiffuse.evaluation.metrics.frechet import Frechet
from undiffuse.evaluation.metrics.histogram import Histogram
from undiffuse.evaluation.metrics.judge import collect, judge
from undiffuse.evaluation.metrics.kernel import Kernel
from undiffuse.evaluation.metrics.memorisation import Memorisation
from undiffuse.evaluation.metrics.metric import Metric
from undiffuse.evaluation.metrics.precision_recall import PrecisionRecall
from undiffuse.evaluation.metrics.sliced_wasserstein import SlicedWasserstein


@pytest.fixture(scope="module")
def parts() -> tuple[Dataset, Dataset, Dataset]:
    """Three disjoint parts of the digits in a random order: as samples, held out, for training."""
    digits = Digits().load()
    order = np.random.default_rng(0).permutation(len(digits))
    return digits.take(order[:500]), digits.take(order[500:850]), digits.take(order[850:])


def verdicts(metric: Metric, *parts: Any, **how: Any) -> dict[str, dict[str, Any]]:
    return metric.judge(collect(*parts, **how))


def test_the_registry_lists_the_metrics_and_nothing_else():
    images = {
        "agreement",
        "c2st",
        "clip_score",
        "density_coverage",
        "frechet",
        "frechet_infinity",
        "histogram",
        "inception_score",
    }
    both = {"kernel", "memorisation", "precision_recall"}
    texts = {"copies", "known_ngrams", "known_words", "symbol_entropy"}
    tables = {"dcr", "column_pairs", "column_shapes", "columns", "tstr"}
    predictive = {"rmse", "gaussian_nll", "crps", "picp", "qice", "class_accuracy", "ece", "log_loss"}
    predictive |= {"confident_accuracy"}
    points = {"energy_distance", "sliced_wasserstein", "cloud_neighbours"}
    series, videos = {"forecast", "pitch"}, {"frame_change", "frame_frechet"}
    assert set(registry.names("metrics")) == images | both | texts | tables | predictive | points | series | videos


def test_real_data_meet_every_floor(parts: tuple[Dataset, Dataset, Dataset]):
    found = judge(*parts)
    pairs = {"precision", "recall", "density", "coverage"}
    assert set(found) == pairs | {
        *("agreement", "c2st", "frechet", "frechet_infinity", "histogram", "kernel", "memorisation")
    }
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, default=str))  # nothing but JSON's types
    assert found["frechet"]["ratio"] == pytest.approx(1, abs=0.3)
    assert found["precision"]["ratio"] == pytest.approx(1, abs=0.05)
    assert found["recall"]["ratio"] == pytest.approx(1, abs=0.05)
    assert found["agreement"]["value"] > 0.97
    assert found["agreement"]["floor"] > 0.97
    assert abs(found["kernel"]["value"]) < 3 * found["kernel"]["detail"]["standard_error"]
    assert found["memorisation"]["value"] < 0.05
    assert found["histogram"]["value"] < 0.05
    assert found["density"]["ratio"] == pytest.approx(1, abs=0.1)
    assert found["coverage"]["ratio"] == pytest.approx(1, abs=0.05)
    assert found["c2st"]["value"] == pytest.approx(0.5, abs=3 * found["c2st"]["detail"]["standard_error"])
    assert abs(found["frechet_infinity"]["value"]) < 3 * found["frechet_infinity"]["detail"]["standard_error"]
    for verdict in found.values():
        assert {"value", "floor", "ratio", "better", "count", "repeats", "seed", "warning", "detail"} <= set(verdict)


def test_the_floor_is_on_average_what_real_data_get():
    digits = Digits().load()
    ratios = []
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(len(digits))
        third = [digits.take(order[i::3]) for i in range(3)]
        ratios.append(verdicts(Frechet(), *third)["frechet"]["ratio"])
    assert np.mean(ratios) == pytest.approx(1, abs=0.12)


def test_counts_are_equal_and_said(parts: tuple[Dataset, Dataset, Dataset]):
    few = parts[0].take(np.arange(120))
    found = verdicts(Frechet(), few, *parts[1:])["frechet"]
    assert found["count"] == 120
    assert found["detail"]["components"] == 12
    assert "120 items a side are few" in found["warning"]
    more = verdicts(Frechet(), *parts)["frechet"]
    assert more["count"] == 350  # as many as are held out
    assert more["floor"] < found["floor"] * 35 / 12  # fewer items a side make a greater distance between real parts


def test_the_same_seed_gives_the_same_verdict(parts: tuple[Dataset, Dataset, Dataset]):
    first, again = (verdicts(Frechet(), *parts, seed=5) for _ in range(2))
    assert first == again
    assert verdicts(Frechet(), *parts, seed=6) != first


def test_blurred_noisy_and_faded_samples_are_worse(parts: tuple[Dataset, Dataset, Dataset]):
    samples, held_out, train = parts
    good = verdicts(Frechet(), *parts)["frechet"]["ratio"]
    x = np.asarray(samples.x, float)
    noisy = np.clip(x + np.random.default_rng(0).normal(0, 60, x.shape), 0, 255)
    faded = x * 0.7
    for bad in (noisy, faded):
        wrong = bad.astype(np.uint8)
        assert verdicts(Frechet(), wrong, held_out, train)["frechet"]["ratio"] > 1.5 * good
        kernel = verdicts(Kernel(), wrong, held_out, train)["kernel"]
        assert kernel["value"] > 3 * kernel["detail"]["standard_error"]


def test_a_lost_class_is_seen(parts: tuple[Dataset, Dataset, Dataset]):
    samples, held_out, train = parts
    lost = samples.take(samples.conditions["label"] < 5)
    found = verdicts(PrecisionRecall(), lost, held_out, train)
    assert found["recall"]["ratio"] < 0.8
    assert found["precision"]["ratio"] > 0.95
    shares = verdicts(Histogram(), lost.x, held_out, train)["histogram"]
    assert shares["value"] == pytest.approx(0.5, abs=0.06)
    assert shares["floor"] < 0.1
    assert shares["detail"]["read"]["7"] < 0.03
    assert shares["detail"]["wanted"]["7"] == pytest.approx(0.1, abs=0.03)


def test_copies_are_flagged_and_new_data_are_not(parts: tuple[Dataset, Dataset, Dataset]):
    samples, held_out, train = parts
    fresh = verdicts(Memorisation(), *parts)["memorisation"]
    assert fresh["value"] < 0.05
    assert fresh["detail"]["nearer"] == pytest.approx(0.5, abs=0.06)
    assert fresh["detail"]["copies"] == 0
    assert fresh["floor"] == pytest.approx(0.01, abs=0.01)

    mixed = np.concatenate([samples.x[:400], train.x[100:200]])
    found = verdicts(Memorisation(), mixed, held_out, train)["memorisation"]
    assert found["value"] == pytest.approx(0.2, abs=0.04)
    assert found["detail"]["copies"] == 100
    for sample, item, distance in found["detail"]["pairs"]:
        assert distance == 0
        np.testing.assert_array_equal(mixed[sample], train.x[item])

    nearly = np.clip(train.x[:300] + np.random.default_rng(0).integers(-8, 9, train.x[:300].shape), 0, 255)
    found = verdicts(Memorisation(), nearly.astype(np.uint8), held_out, train)["memorisation"]
    assert found["value"] > 0.95
    assert found["detail"]["nearer"] > 0.95
    assert found["detail"]["copies"] == 0


def test_few_held_out_items_are_warned_of(parts: tuple[Dataset, Dataset, Dataset]):
    warning = verdicts(Memorisation(), *parts)["memorisation"]["warning"]
    assert warning == "the bound rests on the 4 nearest of 350 held-out items"


def test_agreement_counts_the_classes_asked_for(parts: tuple[Dataset, Dataset, Dataset]):
    samples, held_out, train = parts
    asked = np.where(np.arange(500) < 200, (samples.conditions["label"] + 1) % 10, samples.conditions["label"])
    found = verdicts(Agreement(), samples.x, held_out, train, labels=asked)["agreement"]
    assert found["value"] == pytest.approx(0.6, abs=0.03)
    assert found["floor"] > 0.97
    assert found["warning"] == ""


def test_a_classifier_that_cannot_read_is_warned_of(parts: tuple[Dataset, Dataset, Dataset]):
    samples, held_out, train = parts
    muddled = Dataset(train.x, {"label": np.arange(len(train)) % 10}, train.classes)
    warning = verdicts(Agreement(), samples, held_out, muddled)["agreement"]["warning"]
    assert "the classifier itself reads only" in warning


def test_classes_are_matched_by_name(parts: tuple[Dataset, Dataset, Dataset]):
    samples, held_out, train = parts
    turned = Dataset(held_out.x, {"label": 9 - held_out.conditions["label"]}, held_out.classes[::-1])
    assert verdicts(Agreement(), samples, turned, train) == verdicts(Agreement(), samples, held_out, train)
    other = Dataset(held_out.x, dict(held_out.conditions), tuple("abcdefghij"))
    assert not Agreement().applies(collect(samples, other, train))


def test_one_class_is_read_as_that_class(parts: tuple[Dataset, Dataset, Dataset]):
    single = [Dataset(part.x, {"label": np.zeros(len(part), int)}, ("digit",)) for part in parts]
    assert verdicts(Agreement(), *single)["agreement"]["value"] == 1


def test_points_are_judged_by_their_distances():
    real = EightGaussians(3000).load()
    train, held_out = real.split(0.3)
    samples = EightGaussians(1000, seed=9).load()
    found = judge(samples, held_out, train)
    assert "sliced_wasserstein" in found
    assert found["agreement"]["value"] > 0.99
    fresh = [verdicts(SlicedWasserstein(32), EightGaussians(4000, seed=s).load(), held_out, train) for s in range(1, 9)]
    assert np.mean([each["sliced_wasserstein"]["ratio"] for each in fresh]) == pytest.approx(1, abs=0.25)
    moved = verdicts(SlicedWasserstein(), np.asarray(samples.x) + np.float32(0.3), held_out, train)[
        "sliced_wasserstein"
    ]
    spread = np.asarray(train.x).std(0)
    expected = np.hypot(*(0.3 / spread)) / np.sqrt(2)
    assert moved["value"] == pytest.approx(expected, abs=0.08)
    assert moved["ratio"] > 3


def test_points_of_unlike_units_weigh_alike():
    random = np.random.default_rng(0)
    parts = [Dataset((random.normal(size=(500, 2)) * [1, 1000]).astype(np.float32)) for _ in range(3)]
    wrong = parts[0].x * np.array([2, 1], np.float32)
    assert verdicts(Frechet(), wrong, *parts[1:])["frechet"]["ratio"] > 10


def test_deep_and_float_images_are_judged_as_plain_ones(parts: tuple[Dataset, Dataset, Dataset]):
    deep = [Dataset(np.asarray(part.x, np.uint16) * 257, part.conditions, part.classes) for part in parts]
    plain = verdicts(Frechet(), *parts)["frechet"]
    assert verdicts(Frechet(), *deep)["frechet"]["value"] == pytest.approx(plain["value"], rel=1e-3)
    floats = [Dataset(np.asarray(part.x, np.float32) / 255, part.conditions, part.classes) for part in parts]
    assert verdicts(Frechet(), *floats)["frechet"]["ratio"] == pytest.approx(plain["ratio"], rel=1e-3)


def with_nan(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[3:5] = np.nan
    return x


DATA = Dataset(
    np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), {"label": np.arange(40) % 2}, ("a", "b")
)


@pytest.mark.parametrize(
    ("samples", "labels", "message"),
    [
        (
            np.zeros((40, 2), np.float32),
            None,
            r"samples of shape \(2,\), float32 cannot be judged .* shape \(3,\), float32",
        ),
        (
            np.zeros((40, 3), np.uint8),
            None,
            "samples of shape .* uint8 cannot be judged .* float32; give both in the data's",
        ),
        (np.asarray(DATA.x)[:9], None, "9 samples are too few to judge: at least 10"),
        (with_nan(np.asarray(DATA.x)), None, "2 of 40 samples have numbers that are NaN or infinite"),
        (DATA.x, np.zeros(39, int), r"labels have shape \(39,\) and dtype int64; 40 samples need 40 integers"),
        (DATA.x, np.zeros(40), r"dtype float64; 40 samples need 40 integers"),
        (DATA.x, np.full(40, 2), r"labels go from 2 to 2, and there are 2 classes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(samples: np.ndarray, labels: np.ndarray | None, message: str):
    with pytest.raises(Refused, match=message):
        judge(samples, DATA, DATA, labels=labels)


def test_samples_of_doubles_are_judged_against_single_precision():
    x = np.random.default_rng(0).normal(size=(3, 40, 2)).astype(np.float32)
    found = [judge(samples, Dataset(x[1]), Dataset(x[2])) for samples in (x[0], x[0].astype(np.float64))]
    assert found[0] == found[1]


def test_images_of_different_sizes_are_refused_with_what_helps():
    small, large = (Dataset(np.zeros((20, 1, side, side), np.uint8)) for side in (8, 9))
    with pytest.raises(Refused, match=r"\(1, 8, 8\), uint8 cannot be judged .* \(1, 9, 9\), uint8; .*--resize N"):
        judge(small, large, large)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["frechett"], r"metrics has no 'frechett' \(did you mean 'frechet'\?\)"),
        (["recal"], r"metrics has no 'recal' \(did you mean 'recall'\?\)"),
        (["inception_score"], "'inception_score' does not apply here: it needs --features inception"),
    ],
)
def test_unknown_and_impossible_metrics_are_refused(metrics: list[str], message: str):
    with pytest.raises(Refused, match=message):
        judge(DATA, DATA, DATA, metrics=metrics)


def test_only_the_metrics_that_were_asked_for_are_judged():
    assert set(judge(DATA, DATA, DATA, metrics=["energy", "precision-recall"])) == {
        "energy_distance",
        "precision",
        "recall",
    }


def test_constant_images_are_judged_without_a_warning():
    flat = Dataset(np.full((40, 1, 8, 8), 7, np.uint8))
    found = judge(flat, flat, flat)
    assert found["frechet"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["c2st"]["value"] == pytest.approx(0.5, abs=0.01)
    assert all(np.isfinite(verdict["value"]) for verdict in found.values())


def test_too_few_real_items_are_refused():
    with pytest.raises(Refused, match="9 held-out items are too few"):
        judge(DATA, DATA.take(np.arange(9)), DATA)
