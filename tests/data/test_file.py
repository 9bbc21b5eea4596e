"""A NumPy file comes back as what was stored, and whatever makes one unusable is refused by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data import stored
from undiffuse.data.dataset import Dataset
from undiffuse.data.images.resize import Resize
from undiffuse.data.rows import MappedRows
from undiffuse.data.source import Peek
from undiffuse.data.sources.file import File

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 5, 7), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 1, 0, 2], np.uint8)


def stored_(folder: Path, **arrays: np.ndarray) -> str:
    path = folder / "set.npz"
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
    return str(path)


def load(folder: Path, **arrays: np.ndarray) -> Dataset:
    return File(stored_(folder, **arrays)).load()


@pytest.mark.each("key", ["images", "x", "data", "arr_0", "whatever"])
@pytest.mark.each("label_key", ["labels", "label", "y"])
def test_the_usual_names_are_found(tmp_path: Path, key: str, label_key: str):
    if key == "whatever":
        return np.testing.assert_array_equal(load(tmp_path, whatever=GREY).x[:, 0], GREY)
    data = load(tmp_path, **{key: GREY, label_key: LABELS})
    np.testing.assert_array_equal(data.x, GREY[:, None])
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.classes == ("0", "1", "2")
    return None


def test_a_name_that_was_asked_for_goes_first(tmp_path: Path):
    path = stored_(tmp_path, images=GREY, mine=GREY[:3] // 2, labels=LABELS, coarse=LABELS[:3] // 2)
    data = File(path, key="mine", labels="coarse").load()
    np.testing.assert_array_equal(data.x[:, 0], GREY[:3] // 2)
    np.testing.assert_array_equal(data.labels, LABELS[:3] // 2)


def test_channels_come_first(tmp_path: Path):
    np.testing.assert_array_equal(load(tmp_path, images=COLOUR).x, COLOUR.transpose(0, 3, 1, 2))
    first = np.ascontiguousarray(COLOUR.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(load(tmp_path, images=first).x, first)


@pytest.mark.each(
    ("labels", "classes"),
    [
        ([1, 2, 3], "123"),  # no class 0
        (np.array([3, 8, 10], np.uint8), ("3", "8", "10")),
        (np.array([-1, 1, 70_000]), ("-1", "1", "70000")),
        ([2.0, 5.0, 7.0], "257"),
        (["dog", "caf\u00e9", "cow"], ("caf\u00e9", "cow", "dog")),
        (["10", "9", "1"], ("1", "9", "10")),
        (["1.0", "2", "03"], ("1", "2", "03")),
        ([b"b", b"a", b"c"], "abc"),
        (np.eye(5, dtype=np.int8)[[4, 0, 2]], "024"),
        (np.eye(3, dtype=bool), "012"),
    ],
)
@pytest.mark.each("skip", [False, True])
def test_classes_are_those_that_items_have(tmp_path: Path, labels: Any, classes: Sequence[str], skip: bool):
    """Every label comes back as its own name, and every class has an item, also where broken items are left out."""
    given = np.repeat(np.array(labels), 3, axis=0)
    x = RANDOM.normal(size=(9, 4))
    x[6:] = np.nan if skip else 0
    path = stored_(tmp_path, x=x, labels=given)
    data = File(path, skip_broken=skip).load()
    assert data.labels is not None
    which = [data.classes.index(name) for name in data.classes]
    names = [data.classes[i] for i in data.labels]
    if skip:
        assert (len(set(names)), set(data.labels.tolist())) == (2, set(which))
    else:
        assert data.classes == tuple(classes)
    words = [v.decode() if isinstance(v, bytes) else str(v) for v in given.tolist()] if given.ndim == 1 else None
    if words and given.dtype.kind != "f" and "1.0" not in words:
        assert names == words[: len(names)]


def test_numbers_that_float32_does_not_have_stay_themselves(tmp_path: Path):
    for scale in (1e-300, 1e-40, 1e39, 1e99):
        x = scale * np.random.default_rng(0).normal(size=(20, 2))
        np.save(tmp_path / "x.npy", x)
        assert np.array_equal(np.asarray(File(str(tmp_path / "x.npy")).load().x[:]), x)


def test_true_and_false_are_two_classes(tmp_path: Path):
    assert load(tmp_path, images=GREY, labels=LABELS > 0).classes == ("False", "True")
    names = np.array(["no", "yes"])
    assert load(tmp_path, images=GREY, labels=LABELS > 0, classes=names).classes == ("no", "yes")


def test_names_without_an_item_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for labels in ([1, 3] * 3, np.array(["bee", "dog"] * 3)):
        data = load(tmp_path, images=GREY, labels=np.array(labels), classes=np.array(["ant", "bee", "cat", "dog"]))
        assert data.labels is not None
        assert (data.classes, data.labels.tolist()) == (("bee", "dog"), [0, 1] * 3)
        assert data.notes["classes_without_items"] == ["ant", "cat"]
    assert "2 of 4 classes have no item and are left out: ant, cat" in caplog.text


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


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", ">i4", "bool"])
def test_integers_are_tokens_once_their_vocabulary_is_said(tmp_path: Path, dtype: str):
    x = RANDOM.integers(0, 2, (6, 5)).astype(dtype)
    source = File(stored_(tmp_path, x=x), vocabulary=2)
    data = source.load()
    assert (data.kind, data.vocabulary, source.peek()) == ("tokens", 2, Peek((5,), False, tokens=True))
    assert data.x.dtype == {"uint8": np.uint8, "uint16": np.uint16, "bool": np.uint8}.get(dtype, np.int64)
    np.testing.assert_array_equal(data.x, x)


def test_what_is_no_table_of_tokens_is_refused(tmp_path: Path):
    for x, fields, message in [
        (np.eye(3), {}, r"set.npz: x has dtype float64, and tokens are integers: .*astype\('int64'\)"),
        (GREY, {}, r"set.npz: x has shape \(6, 5, 7\), and axes = NF has 2 letters"),
        (GREY[:, 0].astype(np.int64) - 255, {}, r"set has tokens -.*; its vocabulary is 0 \.\.\. 255"),
        (GREY, {"axes": "NHW"}, r"vocabulary = 256 with axes = 'NHW': tokens are \(count, length\), axes NL"),
        (GREY, {"vocabulary": 1}, r"vocabulary = 1 with axes = ''.* of 2 or more symbols"),
    ]:
        with pytest.raises(Refused, match=message):
            File(stored_(tmp_path, x=x), **({"vocabulary": 256} | fields)).load()


def test_points_become_float32(tmp_path: Path):
    for x in (np.eye(3), np.eye(3, dtype=np.uint8)):
        data = load(tmp_path, x=x)
        assert data.x.dtype == np.float32
        np.testing.assert_array_equal(data.x, np.eye(3))


NAN = np.zeros((4, 3, 3))
NAN[2, 1, 0] = NAN[3] = np.nan


@pytest.mark.each(
    ("arrays", "message"),
    [
        ({"images": NAN}, r"set.npz: images has 10 numbers .* first is at index \(2, 0, 1, 0\)"),
        ({"x": np.array([[1e300, 0.0]])}, r"numbers up to 1e\+300, too large to learn from"),
        ({"images": np.zeros((0, 4, 4))}, r"is empty: shape \(0, 4, 4\)"),
        ({"images": np.zeros((2, 5, 6, 7), np.uint8)}, r"shape \(2, 5, 6, 7\): .*data.axes=NCHW"),
        ({"images": np.zeros(7)}, r"shape \(7,\); data have 2 to 5 axes, .* is an array \(count, 1\)"),
        ({"images": np.zeros((2, 4, 4), np.int64)}, r"dtype int64; .* store it after .astype\('uint8'\) if"),
        ({"images": np.zeros((2, 4, 4), np.complex64)}, "dtype complex64"),
        ({"images": GREY, "labels": LABELS[:4]}, r"labels has shape \(4,\), and there are 6 items"),
        ({"images": GREY, "labels": LABELS / 2}, "labels has the label 0.5: classes are words, or whole numbers"),
        ({"images": GREY, "labels": np.where(LABELS, LABELS, np.nan)}, "labels is empty for 2 of 6 items"),
        ({"images": GREY, "labels": np.array(["a", "", "b"] * 2)}, "labels is empty for 2 of 6 items"),
        ({"images": GREY, "labels": LABELS.astype("M8[D]")}, "labels has dtype .*: labels are words, whole"),
        ({"images": GREY, "labels": np.eye(6)[:, :3]}, r"or rows of zeros and a single 1; row 3 is \[0.0, "),
        ({"images": GREY, "labels": np.eye(6) + np.eye(6)[::-1]}, r"a single 1; row 0 is \[1.0, 0.0"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a"])}, "label 1, and names .* for 1 classes, 0 to 0"),
        ({"x": GREY, "labels": np.array(list("abcabc")), "classes": np.array(["a", "b"])}, "the label c, and names"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a", "b", "a"])}, "two classes are called 'a'"),
        ({"foo": GREY, "bar": GREY}, "none of the arrays images.*; it has: foo, bar. Name one: --set data.key=foo"),
        ({"images": np.array([None, 1])}, "holds Python objects, which are not read"),
        ({}, "holds no arrays"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_used_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    with pytest.raises(Refused, match=message):
        load(tmp_path, **arrays)


def test_a_wrong_name_shows_the_names_there_are(tmp_path: Path):
    path = stored_(tmp_path, images=GREY, labels=LABELS)
    with pytest.raises(Refused, match=r"no array 'image' \(did you mean 'images'\?\); it has: images, labels"):
        File(path, key="image").load()
    with pytest.raises(Refused, match=r"no array 'targets'.*; it has: images, labels"):
        File(path, labels="targets").load()


def test_files_that_are_none_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"there is no file .*missing.npz"):
        File(str(tmp_path / "missing.npz")).load()
    with pytest.raises(Refused, match=r"there is no file .* \(a folder: use --set data.name=folder\)"):
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
    path = Path(stored_(tmp_path, images=RANDOM.integers(0, 256, (20, 8, 8), dtype=np.uint8)))
    content = bytearray(path.read_bytes())
    content[300:340] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"set.npz is cut short or damaged"):
        File(str(path)).load()


AXES = {
    "NL": (6, 5), "NCL": (6, 2, 5), "NLC": (6, 5, 2), "NHW": (6, 5, 4), "NCHW": (6, 7, 5, 4), "NHWC": (6, 5, 4, 7),
    "NDHW": (6, 3, 5, 4), "NCDHW": (6, 2, 3, 5, 4), "NDHWC": (6, 3, 5, 4, 2), "NF": (6, 5),
}  # fmt: skip


@pytest.mark.each("large", [False, True])
@pytest.mark.each("axes", AXES)
def test_axes_say_what_is_what(tmp_path: Path, axes: str, large: bool, monkeypatch: pytest.MonkeyPatch):
    x = RANDOM.normal(size=AXES[axes])
    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr(stored, "MAPPED", 0 if large else 2**30)
    data = File(str(tmp_path / "x.npy"), axes=axes).load()
    assert isinstance(data.x, MappedRows) == large
    moved = np.moveaxis(x, axes.index("C"), 1) if "C" in axes else x if axes == "NF" else x[:, None]
    np.testing.assert_array_equal(np.asarray(data.x), moved.astype(np.float32))
    assert File(str(tmp_path / "x.npy"), axes=axes).peek() == Peek(data.shape, False)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((6, 5, 4, 2), (2, 5, 4)),
        ((6, 2, 5, 9), (2, 5, 9)),
        ((6, 5, 5, 5, 1), (1, 5, 5, 5)),
        ((6, 3, 5, 5, 5), (3, 5, 5, 5)),
    ],
)
def test_a_short_axis_holds_the_channels(tmp_path: Path, shape: tuple[int, ...], found: tuple[int, ...]):
    assert load(tmp_path, x=np.zeros(shape, np.uint8)).shape == found


def test_true_is_white(tmp_path: Path):
    mask = GREY > 100
    np.testing.assert_array_equal(load(tmp_path, images=mask).x[:, 0], mask * np.uint8(255))
    np.testing.assert_array_equal(load(tmp_path, x=mask[0]).x, mask[0].astype(np.float32))


@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_labels_may_lie_in_a_file_of_their_own(tmp_path: Path, ending: str):
    np.save(tmp_path / "x.npy", GREY)
    path = tmp_path / f"y.{ending}"
    np.save(path, LABELS) if ending == "npy" else path.write_text("id,label\n" + "".join(f"a,{i}\n" for i in LABELS))
    data = File(str(tmp_path / "x.npy"), labels=str(path)).load()
    np.testing.assert_array_equal(data.labels, LABELS)
    if ending == "csv":
        path.write_text("\n".join("bcacba"))
        data = File(str(tmp_path / "x.npy"), labels=str(path)).load()
        assert (data.classes, data.labels.tolist()) == (("a", "b", "c"), [1, 2, 0, 2, 1, 0])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n1\n", "has 2 labels, and there are 6 items"),
        ("a,b\n0,1\n", "2 columns and none is called label"),
        ("id,label\n" + "0,1\n" * 5 + "0", "row 6 has 1 cells instead of 2"),
        ("id,label\n" + "0,a\n" * 5 + "0,", "is empty for 1 of 6 items"),
        ("", "is empty"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str):
    np.save(tmp_path / "x.npy", GREY)
    (tmp_path / "y.csv").write_text(text)
    with pytest.raises(Refused, match=message):
        File(str(tmp_path / "x.npy"), labels=str(tmp_path / "y.csv")).load()
    with pytest.raises(Refused, match=r"there is no file of labels z\.npy"):
        File(str(tmp_path / "x.npy"), labels="z.npy").load()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_are_resized_as_images_are(tmp_path: Path, dtype: type, little: None):
    np.save(tmp_path / "x.npy", COLOUR.astype(dtype))
    data = File(str(tmp_path / "x.npy"), size=(4, 3), fit="stretch", filter="box").load()
    want = np.stack([Resize((4, 3), "stretch", "box").apply(i.transpose(2, 0, 1)) for i in COLOUR.astype(dtype)])
    np.testing.assert_array_equal(np.asarray(data.x), want)
    assert data.describe()["resized"] == "box to 3x4, stretched"
    assert isinstance(data.x, MappedRows)


def test_an_npz_that_is_larger_than_memory_is_unpacked_once(tmp_path: Path, little: None, cache: Path):
    path = stored_(tmp_path, images=COLOUR, labels=LABELS)
    first, again = File(path).load(), File(path).load()
    assert isinstance(first.x, MappedRows)
    np.testing.assert_array_equal(np.asarray(again.x), COLOUR.transpose(0, 3, 1, 2))
    assert len(list(cache.iterdir())) == 1
    assert again.labels is not None


def test_items_with_nan_are_left_out_where_that_is_wished(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = stored_(tmp_path, images=NAN, labels=np.array([0, 1, 2, 1]))
    data = File(path, skip_broken=True).load()
    assert (len(data), data.conditions["label"].tolist()) == (2, [0, 1])
    assert data.describe()["broken"]["count"] == 2
    assert "2 items with NaN or infinity were left out" in caplog.text
    with pytest.raises(Refused, match="all 2 items have numbers that are NaN"):
        File(stored_(tmp_path, images=np.full((2, 3, 3), np.nan)), skip_broken=True).load()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"axes": "NWH"}, r"axes = 'NWH' \(did you mean 'NHW'\?\)"),
        ({"axes": "NCHW"}, "and axes = NCHW has 4 letters"),
        ({"axes": "NCL", "size": 4}, "data.size and data.crop are for images, and its axes are NCL"),
        ({"crop": 6}, "crop = 6 is more than an image of 7x5 has"),
    ],
)
def test_wishes_that_do_not_fit_are_refused(tmp_path: Path, fields: dict, message: str):
    with pytest.raises(Refused, match=message):
        File(stored_(tmp_path, images=GREY), **fields).load()


def test_a_header_that_promises_more_than_the_file_has_is_refused_before_memory_is_taken(tmp_path: Path):
    path = tmp_path / "x.npy"
    np.save(path, GREY)
    content = path.read_bytes().replace(b"(6, 5, 7)", b"(6,5,7e9)"[:9].replace(b"7e9", b"790"))
    path.write_bytes(content)
    with pytest.raises(Refused, match="its header promises an array of shape"):
        File(str(path)).load()


def test_no_code_in_a_file_is_run(tmp_path: Path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Refused, match=r"evil.npy holds Python objects, which are not read: store arrays of numbers"):
        File(str(path)).load()
