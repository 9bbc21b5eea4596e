"""An HDF5 file is read as NumPy files are, and leads nowhere else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data.rows import MappedRows
from undiffuse.data.source import Peek
from undiffuse.data.sources.file import File
from undiffuse.data.sources.hdf5 import Hdf5

h5py = pytest.importorskip("h5py")
RANDOM = np.random.default_rng(0)
ARRAYS = {
    "images": RANDOM.integers(0, 256, (9, 6, 5, 3), dtype=np.uint8),
    "labels": np.arange(9) % 3,
    "deep/er": RANDOM.normal(size=(9, 4)),
    "mask": RANDOM.uniform(size=(9, 4, 4)) > 0.5,
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    with h5py.File(tmp_path / "set.h5", "w") as file:
        for name, array in ARRAYS.items():
            file[name] = array
    np.savez(tmp_path / "set.npz", allow_pickle=False, **{name.replace("/", "_"): a for name, a in ARRAYS.items()})
    return str(tmp_path / "set.h5")


@pytest.mark.parametrize(
    "fields", [{}, {"key": "deep/er"}, {"key": "mask"}, {"size": 4}, {"key": "mask", "axes": "NCL"}]
)
@pytest.mark.parametrize("memory", ["1GB", "100"])
def test_it_is_what_a_numpy_file_is(path: str, fields: dict[str, Any], memory: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_MEMORY", memory)
    data = Hdf5(path, **fields).load()
    same = {key: value.replace("/", "_") if key == "key" else value for key, value in fields.items()}
    want = File(path.replace(".h5", ".npz"), **same).load()
    np.testing.assert_array_equal(np.asarray(data.x), np.asarray(want.x))
    np.testing.assert_array_equal(data.conditions["label"], want.conditions["label"])
    assert data.classes == want.classes
    assert isinstance(data.x, MappedRows) == (memory == "100")
    assert Hdf5(path, **fields).peek() == Peek(data.shape, True)


def test_links_and_data_elsewhere_are_refused(tmp_path: Path, path: str):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"12345678" * 4)
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["outside"] = h5py.ExternalLink(path, "images")
        file["soft"] = h5py.SoftLink("/outside")
        layout = h5py.VirtualLayout((9, 6, 5, 3), np.uint8)
        layout[:] = h5py.VirtualSource(path, "images", (9, 6, 5, 3))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("external", (4, 4), np.int16, external=[(str(secret), 0, 32)])
    links = str(tmp_path / "links.h5")
    for key, message in {
        "outside": "outside is a link to images; links are not followed",
        "soft": "soft is a link to /outside",
        "virtual": "virtual lies in other files, which are not read",
        "external": "external lies in other files, which are not read",
        "outside/x": "is a link to images",
        "nothing": r"no data set 'nothing'.*; it has: external, virtual",
    }.items():
        with pytest.raises(Refused, match=message):
            Hdf5(links, key=key).load()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "image"}, r"no data set 'image' \(did you mean 'images'\?\); it has: .*deep/er"),
        ({"key": "images", "labels": "lables"}, r"no data set 'lables' \(did you mean 'labels'\?\)"),
        ({"key": "mask", "labels": "deep/er"}, r"deep/er has shape \(9, 4\): one label each is needed"),
        ({"key": "labels"}, r"shape \(9,\); data have 2 to 5 axes"),
        ({"key": "mask", "axes": "NCL", "size": 3}, "data.size and data.crop are for images"),
    ],
)
def test_wishes_that_do_not_fit_are_refused(path: str, fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        Hdf5(path, **fields).load()


def test_items_with_nan_are_refused_or_left_out(tmp_path: Path):
    x = RANDOM.normal(size=(5, 3))
    x[2, 1] = np.nan
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = x
    with pytest.raises(Refused, match=r"1 numbers that are NaN or infinite; the first is at index \(2, 1\)"):
        Hdf5(str(tmp_path / "x.h5")).load()
    data = Hdf5(str(tmp_path / "x.h5"), skip_broken=True).load()
    np.testing.assert_array_equal(data.x, x[[0, 1, 3, 4]].astype(np.float32))


def test_files_that_are_none_are_refused(tmp_path: Path, path: str):
    with pytest.raises(Refused, match=r"there is no file .*none.h5"):
        Hdf5(str(tmp_path / "none.h5")).load()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(Path(path).read_bytes()[:900])
    with pytest.raises(Refused, match=r"cut.h5 is cut short or damaged"):
        Hdf5(str(cut)).load()
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(Refused, match="it holds no data sets"):
        Hdf5(str(tmp_path / "empty.h5")).load()


def test_without_h5py_it_says_what_to_install(path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(Refused, match=r"pip install 'undiffuse\[hdf5\]'"):
        Hdf5(path).load()


def test_labels_are_those_beside_the_items(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with h5py.File(tmp_path / "set.h5", "w") as file:
        for i, part in enumerate(("train", "val", "test")):
            file[f"{part}/images"] = ARRAYS["images"][: 9 - i]
        file["train/labels"] = np.array(["cat", "dog", "cat"] * 3, dtype=h5py.string_dtype())
        file["val/labels"] = np.arange(8) % 2 + 1
        file["val/classes"] = np.array([b"ant", b"bee", b"cow"])
        file["labels"] = np.ones(9, bool)
    path = str(tmp_path / "set.h5")
    train, val, test = (Hdf5(path, key=f"{part}/images").load() for part in ("train", "val", "test"))
    assert (train.classes, train.conditions["label"].tolist()) == (("cat", "dog"), [0, 1, 0] * 3)
    assert (val.classes, val.conditions["label"].tolist()) == (("bee", "cow"), [0, 1] * 4)
    assert test.labels is None
    assert "1 of 3 classes have no item and are left out: ant" in caplog.text
    assert "test/images has no labels beside it, and none are read; there are labels, train/labels" in caplog.text
    named = Hdf5(path, key="/train/images", labels="/labels").load()
    assert (named.classes, named.shape) == (("True",), (3, 6, 5))
