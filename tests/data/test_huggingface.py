"""A data set of Hugging Face's library, saved on this machine, comes back as its images."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.rows import MappedRows
from undiffuse.data.source import Peek
from undiffuse.data.sources.huggingface import HuggingFace

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
NAMES = ["ant", "bee"]


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("datasets")


def encoded(image: np.ndarray) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture
def saved(library: Any, tmp_path: Path) -> str:
    features = library.Features({"image": library.Image(), "label": library.ClassLabel(names=NAMES)})
    rows = {"image": [encoded(image) for image in IMAGES], "label": [i % 2 for i in range(6)]}
    parts = {name: library.Dataset.from_dict(rows, features) for name in ("train", "validation")}
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    return str(tmp_path / "saved")


def test_a_saved_data_set_is_read_from_its_folder(saved: str):
    assert resolve.table(saved) == {"name": "huggingface", "path": saved}
    data = HuggingFace(saved).load()
    np.testing.assert_array_equal(np.asarray(data.x)[:, 0], IMAGES)
    assert (data.classes, data.conditions["label"].tolist()) == (("ant", "bee"), [0, 1] * 3)
    assert HuggingFace(saved).peek() == Peek((1, 8, 8), True)
    assert HuggingFace(saved, label="none", size=4).load().labels is None


def test_streaming_fills_the_cache_and_gives_the_same(saved: str, library: Any, monkeypatch: pytest.MonkeyPatch):
    table = library.load_from_disk(saved)["train"].to_iterable_dataset()
    monkeypatch.setattr(library, "load_dataset", lambda *_, **__: table)
    data = HuggingFace("some/name", streaming=True).load()
    assert isinstance(data.x, MappedRows)
    assert data.describe()["digest"] == HuggingFace(saved).load().describe()["digest"]
    assert data.classes == ("ant", "bee")
    monkeypatch.setattr(HuggingFace, "_gathered", lambda *_: pytest.fail("read again"))
    assert len(HuggingFace("some/name", streaming=True).load()) == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "test"}, "has no split 'test'; it has: train, validation"),
        ({"split": "valid"}, r"has no split 'valid' \(did you mean 'validation'\?\); it has: train, validation"),
        ({"image": "img"}, r"no column of images 'img'.*; its columns of images are: image"),
        ({"label": "kind"}, "no column 'kind'.*; it has: image, label"),
        ({"channels": 2}, "channels = 2"),
    ],
)
def test_wishes_that_do_not_fit_are_refused(saved: str, fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        HuggingFace(saved, **fields).load()


def test_a_data_set_that_cannot_be_had_is_refused(library: Any, monkeypatch: pytest.MonkeyPatch):
    def absent(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr(library, "load_dataset", absent)
    with pytest.raises(Refused, match=r"cannot open the data set 'some/name', split 'train': no network$"):
        HuggingFace("some/name").load()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(Refused, match=r"pip install 'undiffuse\[datasets\]'"):
        HuggingFace("some/name").load()


def write(library: Any, path: Path, images: Any, labels: Any, feature: Any = None, **fields: Any) -> HuggingFace:
    """A source of these images and labels, saved at the path by the library."""
    features = library.Features({"image": library.Image(), "label": feature}) if feature is not None else None
    rows = {"image": [encoded(image) for image in images], "label": labels}
    table = library.Dataset.from_dict(rows, features)
    (table if features else table.cast_column("image", library.Image())).save_to_disk(path)
    return HuggingFace(str(path), **fields)


def test_data_saved_anew_at_a_path_are_not_the_old_ones(library: Any, tmp_path: Path):
    for images in (IMAGES, 255 - IMAGES, IMAGES[:4]):
        data = write(library, tmp_path / "saved", images, list(range(len(images))), streaming=True).load()
        np.testing.assert_array_equal(np.asarray(data.x)[:, 0], images)


@pytest.mark.parametrize("streaming", [False, True])
def test_labels_are_words_numbers_or_the_feature_s_names(library: Any, tmp_path: Path, streaming: bool):
    kinds = [
        ([3, 8] * 3, None, ("3", "8")),
        ([2.0, 1.0] * 3, None, ("1", "2")),
        (["cat", "ant"] * 3, None, ("ant", "cat")),
        ([True, False] * 3, None, ("False", "True")),
        ([2, 0] * 3, library.ClassLabel(names=["ant", "bee", "cow"]), ("ant", "cow")),
    ]
    for i, (labels, feature, classes) in enumerate(kinds):
        data = write(library, tmp_path / str(i), IMAGES, labels, feature, streaming=streaming).load()
        assert data.classes == classes
        assert data.conditions["label"].tolist() == ([0, 1] if labels[0] in (3, None) else [1, 0]) * 3


@pytest.mark.parametrize("streaming", [False, True])
def test_missing_and_several_labels_are_refused(library: Any, tmp_path: Path, streaming: bool):
    missing = r"has no label for 2 of 6 images, such as image 1; --set data.label=none reads none"
    kinds = [
        (["a", None, "b"] * 2, None, missing),
        ([0, -1, 1] * 2, library.ClassLabel(names=["ant", "bee"]), missing),
        ([[0, 1], [1]] * 3, None, r"several labels an image, such as \[0, 1\]: name a column"),
        ([0.5, 1.0] * 3, None, "has the label 0.5"),
    ]
    for i, (labels, feature, message) in enumerate(kinds):
        source = write(library, tmp_path / str(i), IMAGES, labels, feature, streaming=streaming)
        with pytest.raises(Refused, match=message):
            source.load()
        assert replace(source, label="none").load().labels is None


@pytest.mark.parametrize("streaming", [False, True])
def test_images_that_are_not_alike_are_refused_streamed_or_not(library: Any, tmp_path: Path, streaming: bool):
    grey = np.where(IMAGES[0] == IMAGES[0].min(), 0, np.where(IMAGES[0] == IMAGES[0].max(), 255, IMAGES[0]))
    grey = grey.astype(np.uint8)  # with both ends, so that 16 bit are scaled by 257
    colour, deep = np.stack([grey] * 3, axis=2), grey.astype(np.uint16) * 257
    for i, odd in enumerate((colour, deep)):
        source = write(library, tmp_path / str(i), [grey, odd], [0, 1], streaming=streaming)
        with pytest.raises(Refused, match="channel"):
            source.load()
        same = replace(source, channels=3).load()
        np.testing.assert_array_equal(np.asarray(same.x), np.stack([colour.transpose(2, 0, 1)] * 2))
    deep_first = write(library, tmp_path / "deep", [deep, grey], [0, 1], channels=1, streaming=streaming)
    if streaming:
        with pytest.raises(Refused, match=r"image 1 .* has 1 channel, and the first has 1 channel of 16 bit: read the"):
            deep_first.load()
    else:
        assert deep_first.load().x.dtype == np.uint8


def test_a_table_saved_alone_has_the_split_it_came_from(library: Any, tmp_path: Path):
    assert len(write(library, tmp_path / "saved", IMAGES, [0, 1] * 3).load()) == 6
    with pytest.raises(Refused, match="has no split 'test'; it has: train"):
        HuggingFace(str(tmp_path / "saved"), split="test").load()
