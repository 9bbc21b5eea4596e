"""A NumPy file comes back as what was stored, and whatever makes one unusable is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.file import File

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 5, 7), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 1, 0, 2], np.uint8)


def stored(folder: Path, **arrays: np.ndarray) -> str:
    path = folder / "set.npz"
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
    return str(path)


def load(folder: Path, **arrays: np.ndarray) -> Dataset:
    return File(stored(folder, **arrays)).load()


@pytest.mark.parametrize("key", ["images", "x", "data", "arr_0", "whatever"])
@pytest.mark.parametrize("label_key", ["labels", "label", "y"])
def test_the_usual_names_are_found(tmp_path: Path, key: str, label_key: str):
    if key == "whatever":
        return np.testing.assert_array_equal(load(tmp_path, whatever=GREY).x[:, 0], GREY)
    data = load(tmp_path, **{key: GREY, label_key: LABELS})
    np.testing.assert_array_equal(data.x, GREY[:, None])
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.classes == ("0", "1", "2")
    return None


def test_a_name_that_was_asked_for_goes_first(tmp_path: Path):
    path = stored(tmp_path, images=GREY, mine=GREY[:3] // 2, labels=LABELS, coarse=LABELS[:3] // 2)
    data = File(path, key="mine", labels="coarse").load()
    np.testing.assert_array_equal(data.x[:, 0], GREY[:3] // 2)
    np.testing.assert_array_equal(data.labels, LABELS[:3] // 2)


def test_channels_come_first(tmp_path: Path):
    np.testing.assert_array_equal(load(tmp_path, images=COLOUR).x, COLOUR.transpose(0, 3, 1, 2))
    first = np.ascontiguousarray(COLOUR.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(load(tmp_path, images=first).x, first)


def test_names_of_classes_are_read(tmp_path: Path):
    data = load(tmp_path, images=GREY, labels=LABELS[:, None], classes=np.array(["ant", "bee", "cat"]))
    assert data.classes == ("ant", "bee", "cat")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64", ">f4", ">u2"])
def test_dtypes(tmp_path: Path, dtype: str):
    path = tmp_path / "images.npy"
    np.save(path, GREY.astype(dtype))
    data = File(str(path)).load()
    assert data.x.dtype == (np.uint8 if dtype == "uint8" else np.uint16 if "u" in dtype else np.float32)
    np.testing.assert_array_equal(data.x[:, 0], GREY)
    assert data.name == "images"


def test_an_items_place_in_the_split_does_not_depend_on_the_files_byte_order(tmp_path: Path):
    x = np.random.default_rng(0).normal(size=(200, 2))
    little, big = (load(tmp_path, x=x.astype(dtype)).split()[1].x for dtype in ("<f4", ">f4"))
    np.testing.assert_array_equal(little, big)


def test_points_become_float32(tmp_path: Path):
    for x in (np.eye(3), np.eye(3, dtype=np.uint8)):
        data = load(tmp_path, x=x)
        assert data.x.dtype == np.float32
        np.testing.assert_array_equal(data.x, np.eye(3))


NAN = np.zeros((4, 3, 3))
NAN[2, 1, 0] = NAN[3] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": NAN}, r"set.npz: images has 10 numbers .* first is at index \(2, 0, 1, 0\)"),
        ({"x": np.array([[1e300, 0.0]])}, r"1 numbers that are NaN or infinite"),
        ({"images": np.zeros((0, 4, 4))}, r"is empty: shape \(0, 4, 4\)"),
        ({"images": np.zeros((2, 5, 4, 2), np.uint8)}, r"shape \(2, 5, 4, 2\); images are .* with 1, 3 or 4 channels"),
        ({"images": np.zeros(7)}, r"shape \(7,\); images are"),
        ({"images": np.zeros((2, 4, 4), np.int64)}, "dtype int64; uint8, uint16 and floats are read"),
        ({"images": np.zeros((2, 4, 4), np.complex64)}, "dtype complex64"),
        ({"images": GREY, "labels": LABELS[:4]}, r"labels has shape \(4,\), and there are 6 items"),
        ({"images": GREY, "labels": LABELS / 2}, "must be integers that count classes from 0; its dtype is float64"),
        ({"images": GREY, "labels": np.array(list("abcabc"))}, "must be integers .* its dtype is <U1"),
        ({"images": GREY, "labels": LABELS.astype(int) - 1}, "goes from -1 to 1; classes count from 0"),
        ({"images": GREY, "labels": LABELS * np.uint32(10**6)}, "goes from 0 to .* below 10000"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a"])}, "names 1 classes, and .* up to 2"),
        ({"foo": GREY, "bar": GREY}, "none of the arrays images, x, data, arr_0; it has: foo, bar. Name one with key="),
        ({"images": np.array([None, 1])}, "holds Python objects, which are not read"),
        ({}, "holds no arrays"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    with pytest.raises(Refused, match=message):
        load(tmp_path, **arrays)


def test_a_wrong_name_shows_the_names_there_are(tmp_path: Path):
    path = stored(tmp_path, images=GREY, labels=LABELS)
    with pytest.raises(Refused, match=r"no array 'image' \(did you mean 'images'\?\); it has: images, labels"):
        File(path, key="image").load()
    with pytest.raises(Refused, match=r"no array 'targets'.*; it has: images, labels"):
        File(path, labels="targets").load()


def test_files_that_are_none_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"there is no file .*missing.npz"):
        File(str(tmp_path / "missing.npz")).load()
    with pytest.raises(Refused, match=r"there is no file .* \(a folder: use data.name=folder\)"):
        File(str(tmp_path)).load()
    text = tmp_path / "text.npz"
    text.write_text("hello, world")
    with pytest.raises(Refused, match=r"is not an .npz or .npy file: it starts with b'hello,'"):
        File(str(text)).load()


@pytest.mark.parametrize("kept", [5, 40, 150, 400])
@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: int, ending: str):
    path = tmp_path / f"set.{ending}"
    x = RANDOM.integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.save(path, x) if ending == "npy" else np.savez_compressed(path, images=x)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refused, match=rf"set.{ending} is (cut short or damaged|not an .npz or .npy file)"):
        File(str(path)).load()


def test_a_damaged_array_inside_a_whole_archive_is_refused(tmp_path: Path):
    path = Path(stored(tmp_path, images=RANDOM.integers(0, 256, (20, 8, 8), dtype=np.uint8)))
    content = bytearray(path.read_bytes())
    content[300:340] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"set.npz is cut short or damaged"):
        File(str(path)).load()


def test_no_code_in_a_file_is_run(tmp_path: Path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Refused, match=r"evil.npy holds Python objects, which are not read: store arrays of numbers"):
        File(str(path)).load()
