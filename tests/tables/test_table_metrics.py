"""What is measured of tables, against known values: copies are found, shuffled columns too, fresh rows pass."""

from typing import Any

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.toys.census import Census
from undiffuse.evaluation.metrics.column_pairs import associations, correlation_ratio, cramers_v
from undiffuse.evaluation.metrics.column_shapes import kolmogorov, total_variation
from undiffuse.evaluation.metrics.dcr import nearer
from undiffuse.evaluation.metrics.judge import judge
from undiffuse.evaluation.metrics.tstr import score

METRICS = ("column_shapes", "column_pairs", "tstr", "dcr")


@pytest.fixture(scope="module")
def parts() -> tuple[Dataset, Dataset, np.ndarray]:
    train, held_out = Census(900).load().split(0.4)
    return train, held_out, np.asarray(Census(330, seed=7).load().x)


def verdicts(parts: Any, samples: np.ndarray, *names: str) -> dict[str, Any]:
    train, held_out, _ = parts
    return judge(samples, held_out, train, metrics=names)


def test_fresh_rows_of_the_same_law_meet_every_floor(parts: Any):
    found = verdicts(parts, parts[2], *METRICS)
    assert set(found) == set(METRICS)
    for name in ("column_shapes", "column_pairs"):
        assert found[name]["value"] < 1.6 * found[name]["floor"]
    assert abs(found["tstr"]["detail"]["apart"]) < 0.04
    assert found["tstr"]["detail"]["target"] == "income"
    assert abs(found["dcr"]["value"] - 0.5) < 0.07
    copies = found["dcr"]["detail"]
    assert abs(copies["copies"] - copies["held_out_copies"]) < 0.05
    assert set(found["column_shapes"]["detail"]["columns"]) == set(parts[0].columns)
    assert "education and income" in found["column_pairs"]["detail"]["columns"]


def test_copies_of_training_rows_are_found(parts: Any):
    found = verdicts(parts, np.asarray(parts[0].x[:300]), "dcr")["dcr"]
    assert found["value"] > 0.65
    assert found["detail"]["copies"] == 1


def test_shuffled_columns_look_right_alone_and_wrong_together(parts: Any):
    random = np.random.default_rng(0)
    shuffled = np.stack([random.permutation(column) for column in parts[2].T], axis=1)
    found = verdicts(parts, shuffled, "column_shapes", "column_pairs", "tstr")
    assert found["column_shapes"]["value"] < 1.6 * found["column_shapes"]["floor"]
    assert found["column_pairs"]["value"] > 2 * found["column_pairs"]["floor"]
    assert found["tstr"]["detail"]["apart"] < -0.15


def test_moved_columns_are_named_first(parts: Any):
    moved = parts[2].copy()
    moved[:, 0] += 10
    moved[:, 5] = 0
    found = verdicts(parts, moved, "column_shapes")["column_shapes"]
    assert list(found["detail"]["columns"])[:2] == ["marital", "age"]


def test_a_label_is_the_target_where_there_is_one_and_classes_may_be_missing(parts: Any):
    train, held_out, x = parts
    made = []
    for part in (train, held_out):
        rows, kinds = np.asarray(part.x), part.categories[:7]
        label = {"label": rows[:, 7].astype(np.int64)}
        made.append(Dataset(rows[:, :7].copy(), label, ("high", "low"), "p", part.columns[:7], categories=kinds))
    samples = np.ascontiguousarray(x[:, :7])
    found = judge(samples, made[1], made[0], labels=x[:, 7].astype(np.int64), metrics=("tstr",))
    assert found["tstr"]["detail"]["target"] == "label"
    assert abs(found["tstr"]["detail"]["apart"]) < 0.04
    only = judge(samples, made[1], made[0], labels=np.ones(len(x), np.int64), metrics=("tstr",))
    assert only["tstr"]["value"] == 0.5


def test_the_target_is_no_column_that_says_what_was_missing(parts: Any):
    train, held_out, x = parts
    gone = np.random.default_rng(0).integers(0, 2, 2000)

    def marked(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([rows, gone[: len(rows), None]], axis=1, dtype=np.float32)

    columns, kinds = (*train.columns, "age missing"), (*train.categories, ("no", "yes"))
    made = [Dataset(marked(np.asarray(p.x)), name="p", columns=columns, categories=kinds) for p in (train, held_out)]
    found = judge(marked(x), made[1], made[0], metrics=("tstr",))
    assert found["tstr"]["detail"]["target"] == "income"


def test_distances_and_associations_have_their_textbook_values():
    x = np.array([1.0, 2, 3, 4])
    assert kolmogorov(x, x + 0.5) == 0.25
    assert kolmogorov(x, x + 10) == 1
    assert total_variation(np.array([0.0, 0, 1, 2]), np.array([0.0, 1, 1, 1]), 4) == 0.5
    a = np.array([0, 0, 1, 1, 2, 2])
    assert cramers_v(a, (a + 1) % 3) == pytest.approx(1)
    assert cramers_v(a, np.array([0, 1, 0, 1, 0, 1])) == pytest.approx(0)
    assert cramers_v(a, np.zeros(6, np.int64)) == 0
    assert correlation_ratio(a, np.array([1.0, 1, 5, 5, 9, 9])) == pytest.approx(1)
    assert correlation_ratio(a, np.array([1.0, 2, 1, 2, 1, 2])) == pytest.approx(0)
    table = np.stack([x, np.exp(x), -x, np.array([0.0, 0, 1, 1])], axis=1)
    found = associations(table, ((), (), (), ("p", "q")))
    np.testing.assert_allclose(found, [1, -1, 2 / 5**0.5, -1, 2 / 5**0.5, 2 / 5**0.5])


def test_rows_equally_near_count_half():
    x, first, second = np.zeros((2, 1), np.float32), np.ones((3, 1), np.float32), -np.ones((3, 1), np.float32)
    assert nearer(x, first, second) == 0.5
    assert nearer(x, first / 2, second) == 1


def test_what_was_learned_is_tried_on_rows_of_known_classes():
    random = np.random.default_rng(1)
    x = random.normal(size=(400, 2))
    y = (x[:, 0] > 0).astype(np.int64)
    told = random.normal(size=(200, 2))
    area, right = score(x, y, told, (told[:, 0] > 0).astype(np.int64), np.zeros(2, dtype=bool))
    assert area > 0.98
    assert right > 0.93


def test_metrics_of_tables_ask_for_tables(parts: Any):
    points = Dataset(np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    for name in METRICS:
        with pytest.raises(Refused, match="does not apply here: it needs a table with"):
            judge(points, points, points, metrics=(name,))
    with pytest.raises(Refused, match="it needs points or a table of numbers"):
        verdicts(parts, parts[2], "columns")
