"""A data set of Hugging Face's library, saved on this machine, comes back as its images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data import door
from undiffuse.data.huggingface import HuggingFace
from undiffuse.data.rows import Rows
from undiffuse.data.source import Glance

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
    library.DatasetDict({"train": library.Dataset.from_dict(rows, features)}).save_to_disk(tmp_path / "saved")
    return str(tmp_path / "saved")


def test_a_saved_data_set_is_read_from_its_folder(saved: str):
    assert door.table(saved) == {"name": "huggingface", "path": saved}
    data = HuggingFace(saved).load()
    np.testing.assert_array_equal(np.asarray(data.x)[:, 0], IMAGES)
    assert (data.classes, data.conditions["label"].tolist()) == (("ant", "bee"), [0, 1] * 3)
    assert HuggingFace(saved).glance() == Glance((1, 8, 8), True)
    assert HuggingFace(saved, label="none", size=4).load().labels is None


def test_streaming_fills_the_cache_and_gives_the_same(saved: str, library: Any, monkeypatch: pytest.MonkeyPatch):
    table = library.load_from_disk(saved)["train"].to_iterable_dataset()
    monkeypatch.setattr(library, "load_dataset", lambda *_, **__: table)
    data = HuggingFace("some/name", streaming=True).load()
    assert isinstance(data.x, Rows)
    assert data.describe()["digest"] == HuggingFace(saved).load().describe()["digest"]
    assert data.classes == ("ant", "bee")
    monkeypatch.setattr(HuggingFace, "_gathered", lambda *_: pytest.fail("read again"))
    assert len(HuggingFace("some/name", streaming=True).load()) == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "test"}, "cannot open the data set .*, split 'test'"),
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
