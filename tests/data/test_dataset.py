"""A data set's split depends on the items alone, and what cannot be used is refused by name."""

import json
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data import dataset
from undiffuse.data.dataset import Dataset
from undiffuse.data.rows import MappedRows
from undiffuse.data.survey import survey

POINTS = np.zeros((3, 2), np.float32)


def images(count: int = 400, seed: int = 0) -> Dataset:
    x = np.random.default_rng(seed).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    return Dataset(x, {"label": np.arange(count) % 3}, ("a", "b", "c"), "noise")


def keys(data: Dataset) -> set[bytes]:
    return {item.tobytes() for item in data.x}


def test_the_split_is_a_partition_that_carries_the_labels():
    data = images()
    train, held_out = data.split(0.25)
    assert len(train) + len(held_out) == len(data)
    assert keys(train) | keys(held_out) == keys(data)
    label = {item.tobytes(): row for item, row in zip(data.x, data.conditions["label"], strict=True)}
    for part in (train, held_out):
        assert [label[item.tobytes()] for item in part.x] == part.conditions["label"].tolist()
        assert part.classes == data.classes


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_share_is_met(share: float):
    count = 4000
    deviation = (share * (1 - share) / count) ** 0.5
    assert abs(len(images(count).split(share)[1]) / count - share) < 4 * deviation


@pytest.mark.each("count", [3, 8, 12, 25, 30, 60, 100])
@pytest.mark.each("share", [0.02, 0.1, 0.2])
def test_small_sets_hold_out_ten_items_or_a_third(count: int, share: float):
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
        for drawn in (False, True):
            train, held_out = Dataset(x, drawn=drawn).split(share)
            by_hash = int((places(x, drawn) < share * 2**64).sum())
            assert len(held_out) == max(min(10, count // 3), by_hash)
            assert len(train) + len(held_out) == count
        shuffled = Dataset(x[::-1].copy()).split(share)[1]
        assert keys(shuffled) == keys(Dataset(x).split(share)[1])


def places(x: np.ndarray, drawn: bool) -> np.ndarray:
    data = Dataset(x)
    return (
        np.random.Generator(np.random.Philox(0)).integers(2**64, size=len(x), dtype=np.uint64)
        if drawn
        else (data.survey().hashes)
    )


def test_copies_do_not_drag_a_small_set_to_one_side():
    for seed in range(30):
        x = np.random.default_rng(seed).normal(size=(60, 3)).astype(np.float32)
        x[:40] = x[0]
        train, held_out = Dataset(x).split(0.1)
        assert not keys(train) & keys(held_out)
        copies = Dataset(x).survey().hashes[0]
        assert len(train) >= 30 or copies < 0.1 * 2**64 or copies == Dataset(x).survey().hashes.min()


def test_every_class_is_learned_from():
    """Classes with one item, and with two that are equal, stay in training whatever their hash."""
    for seed in range(40):
        x = np.random.default_rng(seed).normal(size=(40, 3)).astype(np.float32)
        label = np.array([0] * 19 + [1] * 17 + [2, 3, 3, 4])
        x[37] = x[38]
        train, held_out = Dataset(x, {"label": label}, tuple("abcde")).split(0.2)
        assert set(train.labels.tolist()) == set(range(5))  # type: ignore[union-attr]
        assert len(held_out) >= 6
        assert not keys(train) & keys(held_out)


def test_order_and_new_items_move_no_item():
    data = images()
    held_out = keys(data.split()[1])
    shuffled = data.take(np.random.default_rng(1).permutation(len(data)))
    assert keys(shuffled.split()[1]) == held_out
    fewer = data.take(np.arange(150))
    assert keys(fewer.split()[1]) == held_out & keys(fewer)
    assert keys(data.split(0.1)[1]) < held_out  # a smaller share holds out fewer of the same


def test_equal_items_fall_on_the_same_side():
    data = images()
    twice = data.take(np.tile(np.arange(len(data)), 2))
    train, held_out = twice.split()
    assert not keys(train) & keys(held_out)


def test_where_an_item_goes_is_fixed_for_good():
    x = np.arange(256, dtype=np.uint8).reshape(64, 1, 2, 2)
    places = [int.from_bytes(blake2b(bytes(item.ravel().tolist()), digest_size=8).digest(), "little") for item in x]
    held_out = keys(Dataset(x).split(0.3)[1])
    assert [item.tobytes() in held_out for item in x] == [place < 0.3 * 2**64 for place in places]


def test_few_items_still_leave_both_sides_something():
    for seed in range(20):
        train, held_out = images(2, seed).split(0.01)
        assert len(train) == len(held_out) == 1


def test_the_description_is_json_and_follows_any_change():
    data = images()
    described = data.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["classes"] == {"a": 134, "b": 133, "c": 133}
    assert described["digest"] == data.take(np.arange(len(data))[::-1]).describe()["digest"]
    changed = np.array(data.x)
    changed[7, 0, 0, 0] ^= 1
    assert Dataset(changed).describe()["digest"] != described["digest"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dataset(np.zeros((0, 2), np.float32), name="none"), "none has no items"),
        (lambda: Dataset(np.zeros(3, np.uint8)), r"shape \(3,\); points are .* volumes \(count, channels, depth"),
        (lambda: Dataset(np.zeros((3, 2), np.uint8)), "dtype uint8; points are float32"),
        (lambda: Dataset(np.zeros((3, 1, 2, 2), np.int64)), "dtype int64; .* is uint8, uint16, int16, float32 or"),
        (lambda: Dataset(np.array([[0, 1], [np.nan, np.inf]], np.float32)), r"2 numbers .*;.* index \(1, 0\)"),
        (lambda: Dataset(POINTS, {"label": np.zeros(2, int)}, ("a",)), "3 items and 2 values of 'label'"),
        (lambda: Dataset(POINTS, {"label": np.array([0, 0, 4])}, ("a",)), r"labels 0\.\.4 and 1 classes"),
        (lambda: images().split(0.0), "held_out = 0.0 is not a share between 0 and 1"),
        (lambda: images().split(1.0), "held_out = 1.0 is not a share"),
        (lambda: Dataset(np.zeros((5, 2), np.float32)).split(), "5 items that are all the same.*train.held_out=0"),
        (lambda: Dataset(np.zeros((1, 2), np.float32)).split(), "has one item: .*train.held_out=0"),
        (lambda: Dataset(POINTS, columns=("a",)), "1 names of columns and items of shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(make, message: str):
    with pytest.raises(Refused, match=message):
        make()


@pytest.mark.parametrize("shape", [(40, 3), (40, 2, 9), (40, 1, 4, 4), (40, 1, 2, 3, 4)])
def test_mapped_items_are_split_as_those_in_memory_and_stay_on_the_disk(tmp_path: Path, shape: tuple[int, ...]):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = Dataset(MappedRows(np.load(tmp_path / "x.npy", mmap_mode="r")), {"label": np.arange(40) % 2}, ("a", "b"))
    here = Dataset(x, {"label": np.arange(40) % 2}, ("a", "b"))
    assert mapped.describe() == here.describe()
    for disk, memory in zip(mapped.split(0.3), here.split(0.3), strict=True):
        assert isinstance(disk.x, MappedRows)
        np.testing.assert_array_equal(np.asarray(disk.x), memory.x)
        np.testing.assert_array_equal(disk.conditions["label"], memory.conditions["label"])
        assert disk.describe() == memory.describe()


@pytest.mark.parametrize("table", [False, True])
def test_a_large_array_is_split_without_a_copy(table: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undiffuse.data.rows.LARGE", 100)
    x = np.random.default_rng(0).integers(0, 3, (50, 2) if table else (50, 1, 2, 3)).astype(np.float32)
    names = {"columns": ("a", "b"), "categories": ((), ("r", "g", "b"))} if table else {}
    data = Dataset(x, {"label": np.arange(50) % 2}, ("even", "odd"), **names)
    parts = data.split(0.3)
    monkeypatch.setattr("undiffuse.data.rows.LARGE", 10**9)
    for part, copied in zip(parts, data.split(0.3), strict=True):
        assert isinstance(part.x, MappedRows)
        assert np.shares_memory(part.x.array, x)
        np.testing.assert_array_equal(np.asarray(part.x), copied.x)
        assert part.describe() == copied.describe()
        assert isinstance(part.some(1000).x, np.ndarray)


def test_items_are_read_once_however_often_they_are_split_and_described(monkeypatch: pytest.MonkeyPatch):
    reads = []
    monkeypatch.setattr(dataset, "survey", lambda x, name: reads.append(name) or survey(x, name))
    data = images()
    train, held_out = data.split()
    for part in (data, train, held_out, *train.split(), replace(train, name="other")):
        part.describe()
    assert reads == ["noise"]
    replace(data, x=data.x[::-1]).describe()  # other items are looked at anew
    assert len(reads) == 2


def test_items_of_one_number_hash_as_all_others_do():
    x = np.zeros((6, 1, 2, 2), np.float32)
    x[1], x[2, 0, 0, 1], x[3], x[4] = -0.0, -0.0, 7, 7
    places = [int.from_bytes(blake2b(item.tobytes(), digest_size=8).digest(), "little") for item in x]
    assert Dataset(x).survey().hashes.tolist() == places


def test_some_are_a_fixed_choice_in_their_order_and_in_memory():
    data = images()
    few = data.some(50)
    rows = [next(i for i, item in enumerate(data.x) if np.array_equal(item, one)) for one in few.x]
    assert len(few) == 50
    assert rows == sorted(rows)
    assert (few.labels == np.array(rows) % 3).all()
    np.testing.assert_array_equal(few.x, data.some(50).x)
    assert not np.array_equal(few.x, data.some(50, seed=1).x)
    assert isinstance(Dataset(MappedRows(np.asarray(data.x))).some(50).x, np.ndarray)
    assert isinstance(Dataset(MappedRows(np.asarray(data.x))).some(5000).x, np.ndarray)
    assert data.some(5000) is data


def test_what_a_table_is_called_is_described():
    described = Dataset(POINTS, columns=("a", "b"), notes={"resized": "no"}).describe()
    assert (described["columns"], described["resized"]) == (["a", "b"], "no")
