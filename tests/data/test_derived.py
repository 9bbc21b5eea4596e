"""Conditions that are made of the items: their numbers, their shapes, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from undiffuse.conditions.declared import declared
from undiffuse.conditions.from_data import fitted, tensors
from undiffuse.conditions.image import ImageCondition
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import derived
from undiffuse.models.load import load
from undiffuse.recipes.recipe import Recipe
from undiffuse.training import start as jobs


def pictures(dtype: str = "uint8", channels: int = 1, count: int = 6) -> Dataset:
    x = np.random.default_rng(0).integers(0, 256, (count, channels, 8, 12))
    return Dataset((x if dtype == "uint8" else x / 255).astype(dtype), name="pictures")


def made(data: Dataset, of: str) -> np.ndarray:
    return derived(data, {"seen": ImageCondition(of=of)}).conditions["seen"]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_small_picture_has_the_means_of_blocks(dtype: str) -> None:
    data = pictures(dtype)
    means = np.asarray(data.x, np.float64).reshape(6, 1, 2, 4, 3, 4).mean((3, 5))
    found = made(data, "superresolve:4")
    assert found.dtype == data.x.dtype
    assert np.abs(found - means).max() <= (0.5001 if dtype == "uint8" else 1e-6)


def test_a_layout_has_the_nearest_of_its_levels() -> None:
    data = pictures(channels=3)
    means = np.asarray(data.x, np.float64).mean(1, keepdims=True).reshape(6, 1, 2, 4, 3, 4).mean((3, 5)) / 255
    found = made(data, "layout:4:4")
    assert set(np.unique(found)) <= {0, 85, 170, 255}
    assert np.abs(found / 255 - means).max() <= 1 / 6 + 1e-6


def test_of_12_bit_pictures_white_is_what_12_bit_hold() -> None:
    x = (np.arange(96, dtype=np.uint16) * 40).reshape(2, 1, 6, 8)
    assert set(np.unique(made(Dataset(x), "layout:2:4"))) == {0, 1365, 2730, 4095}
    assert made(Dataset(x.astype(np.int16) - 100), "superresolve:2").dtype == np.int16


def test_a_drawing_is_made_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path))
    data = pictures()
    first = made(data, "soft_edges")
    kept = list(tmp_path.iterdir())
    assert len(kept) == 1
    made(data, "grey")
    other = made(data, "soft_edges:2")
    assert len(list(tmp_path.iterdir())) == 2
    assert not np.array_equal(other, first)
    items = kept[0] / "items.npy"
    np.save(items, np.zeros_like(first))
    assert not made(pictures(), "soft_edges").any()
    turned = Dataset(np.asarray(data.x).reshape(6, 1, 12, 8), name="pictures")
    assert made(turned, "soft_edges").shape == turned.x.shape


def test_a_grey_picture_has_the_mean_of_its_channels() -> None:
    data = pictures(channels=3)
    assert np.abs(made(data, "grey") - np.asarray(data.x).mean(1, keepdims=True)).max() <= 0.5001


def test_a_blur_keeps_a_constant_picture() -> None:
    data = Dataset(np.full((2, 1, 8, 12), 99, np.uint8))
    assert (made(data, "blur:1.5") == 99).all()


def test_a_hole_hides_a_square_says_where_and_lies_elsewhere_in_other_pictures() -> None:
    data = pictures(count=40)
    found = made(data, "hole:4")
    known = found[:, 1:] == 255
    assert found.shape == (40, 2, 8, 12)
    assert (found[:, :1] == np.asarray(data.x) * known).all()
    assert (np.unique(found[:, 1]) == [0, 255]).all()
    assert ((~known).sum((1, 2, 3)) == 16).all()
    rows, columns = (~known[:, 0]).any(2), (~known[:, 0]).any(1)
    assert (rows.sum(1) == 4).all()
    assert (columns.sum(1) == 4).all()
    assert len(np.unique(known, axis=0)) > 20
    assert (made(data, "hole:4") == found).all()


@pytest.mark.parametrize(
    ("of", "says"),
    [
        ("lines:1", "2 pixels or more"),
        ("lines", "lines:LENGTH"),
        ("scribble:4", "1, 3, 5"),
        ("superresolv:4", "did you mean 'superresolve'"),
        ("superresolve", "write superresolve:FACTOR"),
        ("superresolve:four", "write superresolve:FACTOR"),
        ("superresolve:2.5", "write superresolve:FACTOR"),
        ("superresolve:5", "do not divide"),
        ("layout:4", "write layout:FACTOR:LEVELS"),
        ("layout:4:1", "2 grey levels or more"),
        ("grey:1", "grey, without a number"),
        ("hole:9", "does not fit pictures of 8 x 12"),
        ("blur:0", "std > 0"),
    ],
)
def test_words_that_make_nothing_are_refused(of: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        made(pictures(), of)


def test_only_pictures_are_made_into_conditions() -> None:
    with pytest.raises(Refused, match="made of pictures and videos, and points has points"):
        made(Dataset(np.zeros((4, 2), np.float32), name="points"), "grey")
    with pytest.raises(Refused, match=r"conditions\.style: of = 'grey': a vector is of the 'item', or"):
        declared({"style": {"kind": "vector", "of": "grey"}})


def test_a_run_learns_from_what_is_made_of_its_items_and_has_it_as_a_condition(tmp_path: Path) -> None:
    settings = [
        *("conditions.low.kind=image", "conditions.low.of=superresolve:2", "conditions.low.drop=0.2"),
        *("network.width=8", "network.attention=[]", "train.steps=2", "train.batch=32", "train.preview_every=2"),
        *("network.multipliers=[1]", "network.blocks=1", "train.held_out=0.05", "train.previews=10"),
        *("train.precision=float32", "sampler.steps=2"),
    ]
    tables = {name: dict(table) for name, table in Recipe.find("digits").tables.items() if name != "conditions"}
    run = jobs.train({**tables, "conditions": {}}, out=tmp_path / "run", overrides=settings).run()
    assert run.conditions["low"].shape == (1, 4, 4)
    drawn = run.sample(2, low=np.zeros((1, 4, 4), np.uint8), steps=2)
    assert drawn.shape == (2, 1, 8, 8)


def test_a_run_of_12_bit_pictures_fills_its_range_and_keeps_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.linspace(100, 4095, 40 * 64).round().astype(np.uint16).reshape(40, 1, 8, 8)
    np.save(tmp_path / "cells.npy", x[:, 0])
    tables = {name: dict(table) for name, table in Recipe.find("digits").tables.items() if name != "conditions"}
    tables |= {"data": {"name": "file", "path": str(tmp_path / "cells.npy")}, "conditions": {}}
    settings = [
        *("conditions.low.kind=image", "conditions.low.of=superresolve:2"),
        *("train.held_out=0", "train.precision=float32"),
        *("network.width=8", "network.attention=[]", "train.steps=1", "train.batch=4", "train.preview_every=0"),
    ]
    run = jobs.train(tables, out=tmp_path / "run", overrides=settings).run()
    assert (run.codec.low, run.codec.high) == (100, 4095)
    assert "cells: whole numbers from 100 to 4095 in uint16: this range becomes -1 to 1" in caplog.text
    low = run.conditions["low"]
    data = derived(Dataset(x), {"low": low})
    told = tensors({"low": low}, data.conditions)["low"]
    assert (float(told.min()), float(told.max())) == (-1, 1)
    loaded = load(tmp_path / "run")
    drawn = loaded.sample(2, low=data.conditions["low"][:2], steps=2).numpy()
    assert (drawn.dtype, drawn.min() >= 100, drawn.max() <= 4095) == (np.uint16, True, True)
    with pytest.raises(Refused, match=r"conditions.low.mean cannot be set: the data say it; leave it out"):
        fitted({"low": replace(low, mean=(1.0,))}, data.conditions, "cells")


def drawn(x: np.ndarray, of: str) -> np.ndarray:
    return derived(Dataset(x.astype(np.float32)), {"seen": ImageCondition(of=of)}).conditions["seen"]


def test_edges_are_one_pixel_wide_and_stand_where_the_step_is() -> None:
    x = np.zeros((1, 1, 16, 16))
    x[..., 6:] = 1  # a step to the right between the columns 5 and 6
    found = drawn(x, "edges")[0, 0]
    assert (found.sum(1) == 1).all()
    assert (found.argmax(1) == found[0].argmax()).all()
    assert found[0].argmax() in (5, 6)
    assert not drawn(np.full((1, 1, 16, 16), 0.5), "edges").any()
    turned = drawn(x.swapaxes(2, 3), "edges")[0, 0]
    assert (turned == found.T).all()


def test_a_weak_edge_stands_where_it_goes_on_from_a_strong_one() -> None:
    x = np.zeros((2, 1, 24, 16))
    x[0, :, :, 6:] = np.linspace(0.8, 0.25, 24)[:, None]  # ends between the two thresholds of a blurred slope
    x[1, :, :, 6:] = 0.25
    steep = drawn(x, "soft_edges")[:, 0]
    assert 0.1 < steep[0, -1].max() < 0.2 < steep[0, 0].max()
    assert 0.1 < steep[1].max() < 0.2
    first, second = drawn(x, "edges")[:, 0]
    assert first[-1].any()
    assert not second.any()


def test_the_strength_of_an_edge_is_the_slope() -> None:
    ramp = np.broadcast_to(np.arange(16) / 40, (1, 1, 16, 16))
    found = drawn(ramp, "soft_edges:0.5")[0, 0]
    assert np.abs(found[4:-4, 4:-4] - 2 / 40).max() < 1e-6  # twice the difference of neighbours


def test_lines_are_the_edges_along_which_a_straight_line_is_long_enough() -> None:
    x = np.zeros((1, 1, 40, 40))
    x[..., :, 30:] = 1  # a long upright line
    x[..., 4:10, 4:10] = 1  # a small square
    every, some = drawn(x, "edges")[0, 0], drawn(x, "lines:20")[0, 0]
    assert every[:16, :16].any()
    assert not some[:16, :16].any()
    assert (some[:, 28:32] == every[:, 28:32]).all()
    assert some.sum() == 40


def test_a_scribble_is_drawn_with_a_wide_pen() -> None:
    x = np.zeros((1, 1, 32, 32))
    x[..., 16:] = 1
    assert (drawn(x, "scribble:5")[0, 0].sum(1) == 5).all()
