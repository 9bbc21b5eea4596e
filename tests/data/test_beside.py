"""Conditions beside the items: arrays, files and columns become texts, vectors and images, one an item."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.condition_files import value

COUNT = 6


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """An .npz of images with everything beside them."""
    images = np.arange(COUNT * 16, dtype=np.uint8).reshape(COUNT, 4, 4)
    made: dict[str, Any] = {
        "images": images,
        "labels": np.arange(COUNT) % 2,
        "captions": np.array([f"number {i}" for i in range(COUNT)]),
        "maps": np.repeat(images[:, :2, :2, None], 3, axis=3),
        "styles": np.arange(COUNT * 2).reshape(COUNT, 2),
        "age": np.arange(COUNT),
        "short": np.arange(3),
        "bad": np.full((COUNT, 2), np.nan),
    }
    np.savez(tmp_path / "all.npz", **made)
    return tmp_path / "all.npz"


def test_arrays_are_texts_vectors_and_images_and_stay_with_their_items(arrays: Path):
    named = {"text": "captions", "map": "maps", "vector": "styles", "age": "age"}
    data = resolve.open(str(arrays), conditions=named)
    told = data.conditions
    assert list(told) == ["label", *named]
    assert {name: (v.shape, v.dtype.kind) for name, v in told.items() if name != "label"} == {
        "text": ((COUNT,), "U"),
        "map": ((COUNT, 3, 2, 2), "u"),
        "vector": ((COUNT, 2), "f"),
        "age": ((COUNT, 1), "f"),
    }
    for part in (data.take(np.array([4, 1])), *data.split(0.5)):
        number = part.conditions["age"][:, 0].astype(int)
        assert part.x[:, 0, 0, 0].tolist() == (number * 16).tolist()
        assert part.conditions["text"].tolist() == [f"number {i}" for i in number]
        assert part.conditions["map"][:, 2, 0, 0].tolist() == (number * 16).tolist()


def test_conditions_may_lie_in_files_of_their_own(arrays: Path, tmp_path: Path):
    (tmp_path / "texts.csv").write_text("file,text\n" + "".join(f'{i},"one, {i}"\n' for i in range(COUNT)))
    np.save(tmp_path / "more.npy", np.ones((COUNT, 2, 2)))
    named = {"text": str(tmp_path / "texts.csv"), "map": str(tmp_path / "more.npy")}
    told = resolve.open(str(arrays), conditions=named).conditions
    assert told["text"].tolist() == [f"one, {i}" for i in range(COUNT)]
    assert (told["map"].shape, told["map"].dtype) == ((COUNT, 1, 2, 2), np.float32)


def test_items_that_are_left_out_take_their_conditions_with_them(tmp_path: Path):
    x = np.ones((4, 2), np.float32)
    x[1, 0] = np.nan
    np.savez(tmp_path / "some.npz", x=x, captions=np.array(list("abcd")))
    data = resolve.open(str(tmp_path / "some.npz"), conditions={"text": "captions"}, skip_broken=True)
    assert data.conditions["text"].tolist() == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"text": "caption"}, r"has no array 'caption' for 'text' \(did you mean 'captions'\?\); it has: images"),
        ({"text": "nowhere.csv"}, "there is no file nowhere.csv for 'text'"),
        ({"age": "short"}, r"short has shape \(3,\), and there are 6 items: one value each is needed"),
        ({"vector": "bad"}, "bad has numbers that are NaN or infinite"),
        ({"label": "captions"}, "conditions.label would be a second condition of that name"),
    ],
)
def test_what_is_no_condition_of_the_items_is_refused(arrays: Path, named: dict[str, str], message: str):
    with pytest.raises(Refused, match=message):
        resolve.open(str(arrays), conditions=named)


def test_other_dtypes_are_refused():
    with pytest.raises(Refused, match=r"dtype complex128: texts, vectors and images are taken"):
        value(np.zeros((2, 2), complex), 2, "here")
    assert value(np.array([[[True]], [[False]]]), 2, "masks").tolist() == [[[[255]]], [[[0]]]]


def test_images_have_texts_in_a_table_or_beside_them(tmp_path: Path):
    folder = tmp_path / "pictures"
    for i, name in enumerate(["b/2.png", "a/1.png", "b/3.jpg"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(f" picture {name}\n")
    (tmp_path / "captions.csv").write_text("file,text\nb/3.jpg,three\na/1.png,one\nb/2.png,two\n")
    beside = resolve.open(str(folder), conditions={"text": "beside"})
    assert beside.conditions["text"].tolist() == ["picture a/1.png", "picture b/2.png", "picture b/3.jpg"]
    assert beside.conditions["label"].tolist() == [0, 1, 1]
    table = resolve.open(str(folder), conditions={"text": str(tmp_path / "captions.csv")})
    assert table.conditions["text"].tolist() == ["one", "two", "three"]
    (folder / "b/3.txt").unlink()
    with pytest.raises(Refused, match=r"1 of 3 images have no text for 'text' beside them, such as .*3.txt"):
        resolve.open(str(folder), conditions={"text": "beside"})
    (tmp_path / "captions.csv").write_text("file,text\nb/3.jpg,three\n")
    with pytest.raises(Refused, match="has no text for 2 of 3 images, such as a/1"):
        resolve.open(str(folder), conditions={"text": str(tmp_path / "captions.csv")})
    with pytest.raises(
        Refused,
        match=r"text = 'captions': write the path of a .csv .tsv .txt .json .jsonl file, of a folder of pictures, or b",
    ):
        resolve.open(str(folder), conditions={"text": "captions"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", '{"file_name": "1.png", "text": "a, b"}\n\n{"file_name": "2.png", "text": "c"}\n'),
        ("metadata.csv", 'width,file_name,text\n4,1.png,"a, b"\n4,2.png,c\n'),
        ("captions.txt", "1.png\ta, b\n2.png\tc\n"),
        ("captions.tsv", "caption\timage\na, b\t1.png\nc\t2.png\n"),
        ("captions.csv", 'image,caption\n./1.png,"a, b"\n2.png,c\n'),
    ],
)
def test_usual_tables_of_captions_are_read_and_named_where_nobody_asks(tmp_path: Path, name: str, content: str):
    (tmp_path / "pictures" / "train").mkdir(parents=True)
    for i in (1, 2):
        Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(tmp_path / "pictures" / "train" / f"{i}.png")
    table = tmp_path / "pictures" / "train" / name
    table.write_text(content)
    read = resolve.open(str(tmp_path / "pictures"), conditions={"text": str(table)})
    assert read.conditions["text"].tolist() == ["a, b", "c"]
    unread = resolve.open(str(tmp_path / "pictures")).notes["remarks"]
    assert any(f"--set data.conditions.text={table} conditions.text.kind=text" in said for said in unread)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "file_name,width,caption\n1.png,4,one\n", "3 columns and none is called text; it has: file_name"),
        ("a.csv", "picture,width,text\n1.png,4,one\n", "3 columns and none is called file; it has: picture"),
        ("a.csv", "image,caption\n1.png,one\n1.png,two\n", "more than one text for 1.png"),
        ("a.jsonl", '{"file_name": "1.png", "caption": "one"}\n', r"line 1 is no .*; it has: file_name, caption"),
        ("a.jsonl", '{"file_name": "1.png", "text": "one"}\n{bad\n', r'line 2 is no {"file_name": "a.png", "te'),
    ],
)  # fmt: skip
def test_tables_that_do_not_say_which_column_is_which_are_refused(
    tmp_path: Path, name: str, content: str, message: str
):
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "pictures" / "1.png")
    (tmp_path / name).write_text(content)
    with pytest.raises(Refused, match=message):
        resolve.open(str(tmp_path / "pictures"), conditions={"text": str(tmp_path / name)})


def test_columns_of_a_table_are_a_vector(tmp_path: Path):
    (tmp_path / "some.csv").write_text("a,b,kind,c\n1,2,x,3\n4,5,y,6\n")
    path = str(tmp_path / "some.csv")
    data = resolve.open(path, label="kind", conditions={"size": ["c", "a"]})
    assert (np.asarray(data.x).tolist(), data.columns) == ([[2], [5]], ("b",))
    assert data.conditions["size"].tolist() == [[3, 1], [6, 4]]
    some = resolve.open(path, label="kind", columns=["b", "c"], conditions={"size": ["a"]})
    assert np.asarray(some.x).tolist() == [[2, 3], [5, 6]]
    for conditions, message in [
        ({"size": ["d"]}, "has no column 'd' for size"),
        ({"size": ["a", "a"]}, "each of which can be taken once"),
        ({"size": ["kind"]}, "'kind' is the label, and conditions = takes it as a number too"),
        ({"size": ["a", "b", "c"]}, "no column of numbers beside its label and conditions"),
        ({"label": ["a"]}, "conditions.label would be a second condition"),
    ]:
        with pytest.raises(Refused, match=message):
            resolve.open(path, label="kind", conditions=conditions)


def test_data_sets_of_an_hdf5_file_are_conditions(tmp_path: Path):
    with h5py.File(tmp_path / "some.h5", "w") as file:
        file["x"] = np.zeros((3, 4), np.float32)
        file["more/captions"] = ["a", "zwölf", "c"]
        file["styles"] = np.arange(6).reshape(3, 2)
    np.save(tmp_path / "age.npy", np.arange(3))
    path = str(tmp_path / "some.h5")
    named = {"text": "more/captions", "vector": "/styles", "age": str(tmp_path / "age.npy")}
    told = resolve.open(path, conditions=named).conditions
    assert told["text"].tolist() == ["a", "zwölf", "c"]
    assert told["vector"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert told["age"].tolist() == [[0], [1], [2]]
    with pytest.raises(
        Refused, match=r"has no array 'style' for 'vector' \(did you mean 'styles'\?\); it has: more/captions"
    ):
        resolve.open(path, conditions={"vector": "style"})


def test_images_have_pictures_in_another_folder_cut_and_resized_as_they_are(tmp_path: Path):
    for i, name in enumerate(["a/one.png", "a/two.jpg", "b/three.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 12), 40 * i, np.uint8)).save(tmp_path / "photos" / name)
        depth = (tmp_path / "depth" / name).with_suffix(".png")
        depth.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.tile(np.arange(6, dtype=np.uint8) * 10 + i, (4, 1))).save(depth)
    wanted: Any = {"conditions": {"depth": str(tmp_path / "depth")}, "size": 4}
    told = resolve.open(str(tmp_path / "photos"), **wanted).conditions["depth"]
    assert (told.shape, told.dtype) == ((3, 1, 4, 4), np.uint8)
    assert told[:, 0, 0].tolist() == [[10 + i, 20 + i, 30 + i, 40 + i] for i in range(3)]
    (tmp_path / "depth/a/two.tif").write_bytes((tmp_path / "depth/a/two.png").read_bytes())
    with pytest.raises(Refused, match=r"conditions.depth: .* has two pictures of one name, a/two.png and a/two.tif"):
        resolve.open(str(tmp_path / "photos"), **wanted)
    (tmp_path / "depth/a/two.tif").unlink()
    (tmp_path / "depth/b/three.png").unlink()
    with pytest.raises(Refused, match=r"depth: 1 of 3 images have no picture of the same name in .*three.png"):
        resolve.open(str(tmp_path / "photos"), **wanted)
    (tmp_path / "depth/b/three.png").write_bytes(b"no picture")
    with pytest.raises(Refused, match=r"conditions.depth: b/three.png in .* cannot be read"):
        resolve.open(str(tmp_path / "photos"), **wanted)
