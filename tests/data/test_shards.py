"""Shards of images are read where they lie; their names are only names."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.images.decode import Images
from undiffuse.data.rows import MappedRows
from undiffuse.data.source import Peek
from undiffuse.data.sources.shards import Shards

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


def encoded(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three shards of four images; labels in a .cls or a .json."""
    for part in range(3):
        files = {}
        for i in range(4 * part, 4 * part + 4):
            files[f"some/{i:03d}.png"] = encoded(IMAGES[i])
            files[f"some/{i:03d}.txt"] = b"a caption"
            if i % 2:
                files[f"some/{i:03d}.cls"] = str(i % 3).encode()
            else:
                files[f"some/{i:03d}.json"] = json.dumps({"label": i % 3, "more": [1]}).encode()
        shard(tmp_path / f"data-{part:02d}.tar", files)
    return tmp_path


@pytest.mark.parametrize("path", ["", "/data-{00..02}.tar", "/data-*.tar"])
def test_images_and_labels_come_back_in_order(folder: Path, path: str):
    data = Shards(f"{folder}{path}").load()
    np.testing.assert_array_equal(data.x, IMAGES.transpose(0, 3, 1, 2))
    assert data.conditions["label"].tolist() == [i % 3 for i in range(12)]
    assert data.names[5] == "some/005"
    assert Shards(f"{folder}{path}").peek() == Peek((3, 6, 5), True)


def test_one_shard_resized_without_labels(folder: Path):
    data = Shards(str(folder / "data-01.tar"), size=4, channels=1, labels="none").load()
    assert (data.x.shape, data.labels, data.name) == ((4, 1, 4, 4), None, "data-01")


def test_what_does_not_fit_the_memory_is_decoded_once(folder: Path, little: None, monkeypatch: pytest.MonkeyPatch):
    first = Shards(str(folder)).load()
    monkeypatch.setattr(Images, "pixels", lambda *_: pytest.fail("decoded again"))
    again = Shards(str(folder)).load()
    assert isinstance(again.x, MappedRows)
    assert again.describe() == first.describe()


def test_names_that_lead_outside_are_only_names(tmp_path: Path):
    inside = tmp_path / "inside"
    inside.mkdir()
    files = {"../../evil.png": encoded(IMAGES[0]), "/tmp/abs.png": encoded(IMAGES[1])}
    shard(inside / "a.tar", files)
    with tarfile.open(inside / "a.tar", "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            link = tarfile.TarInfo(f"link{kind.decode()}.png")
            link.type, link.linkname = kind, "/etc/passwd"
            tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    data = Shards(str(inside / "a.tar")).load()
    np.testing.assert_array_equal(data.x, IMAGES[:2].transpose(0, 3, 1, 2))
    assert list(data.names) == ["../../evil", "/tmp/abs"]
    assert sorted(tmp_path.rglob("*")) == before


def test_broken_images_are_counted_and_left_out(tmp_path: Path):
    shard(tmp_path / "a.tar", {"1.png": encoded(IMAGES[0]), "2.png": b"none", "3.png": encoded(IMAGES[2])})
    with pytest.raises(Refused, match=r"1 of 3 images in .* is broken: 2 \("):
        Shards(str(tmp_path)).load()
    assert len(Shards(str(tmp_path), skip_broken=True).load()) == 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.png": encoded(IMAGES[0]), "1.cls": b"3", "2.png": encoded(IMAGES[1])}, "no label for 1 of 2 images.*as 2"),
        ({"1.txt": b""}, r"no images in .*: 1 samples, such as 1 \(.txt\); read are \.png"),
        (
            {"1.png": encoded(IMAGES[0]), "1.cls": b"\xff\xfe"},
            "label of 1 cannot be read .*--set data.labels=none reads none",
        ),
        ({"1.png": encoded(IMAGES[0]), "1.json": b"{'label': 3}"}, "label of 1 cannot be read"),
        ({"1.png": encoded(IMAGES[0]), "1.json": b'{"label": [1, 2]}'}, r"label of 1 .*it is \[1, 2\], and one word"),
        ({"1.jpg": encoded(IMAGES[0]), "1.png": encoded(IMAGES[1])}, "the sample 1 has several images, 1.jpg, 1.png"),
        (
            {f"{i}.{kind}.png": encoded(IMAGES[i]) for i in range(2) for kind in ("mask", "input")},
            "the sample 0 has several images, 0.input.png, 0.mask.png: one is needed, called 0.png",
        ),
        (
            {"a.0.png": encoded(IMAGES[0]), "a.1.png": encoded(IMAGES[1]), "a.cls": b"1"},
            "the sample a has several images, a.0.png, a.1.png",
        ),
        ({}, "no images in|is no .tar file"),
    ],
)
def test_shards_that_cannot_be_used_are_refused(tmp_path: Path, files: dict[str, bytes], message: str):
    shard(tmp_path / "a.tar", files)
    with pytest.raises(Refused, match=message):
        Shards(str(tmp_path / "a.tar")).load()


def told(path: Path, files: dict[str, bytes], **fields: Any) -> dict[str, tuple[int, str]]:
    """(which image, its class) by name, of what a shard of these files comes back as."""
    shard(path / "a.tar", files)
    data = Shards(str(path / "a.tar"), **fields).load()
    labels = [""] * len(data) if data.labels is None else [data.classes[i] for i in data.labels]
    which = [int(np.flatnonzero((IMAGES.transpose(0, 3, 1, 2) == x).all((1, 2, 3)))[0]) for x in np.asarray(data.x)]
    return dict(zip(data.names, zip(which, labels, strict=True), strict=True))


def test_the_files_of_a_sample_may_lie_anywhere(tmp_path: Path):
    images = {f"./{i}.png": encoded(IMAGES[i]) for i in range(4)}
    labels = {f"./{i}.{'cls' if i % 2 else 'json'}": b'{"label": 1.0}' if i % 2 == 0 else b"2.0\n" for i in range(4)}
    assert told(tmp_path, images | labels) == {str(i): (i, "12"[i % 2]) for i in range(4)}


def test_dots_inside_names_belong_to_them(tmp_path: Path):
    names = ["img_1.00", "img_1.01", "img_2.00", "img_2.01", "a.b/c.5", "photo", "photo.1", "2024.05.x1", "alone.v2"]
    files = {f"{name}.PNG": encoded(IMAGES[i]) for i, name in enumerate(names)}
    files |= {f"{name}.CLS": f"class {i % 3}".encode() for i, name in enumerate(names)}
    assert told(tmp_path, files) == {name: (i, f"class {i % 3}") for i, name in enumerate(names)}


def test_masks_beside_the_images_are_left_out_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    files = {f"{i}.{kind}png": encoded(IMAGES[2 * i + (not kind)]) for i in range(3) for kind in ("mask.", "")}
    files |= {"v_1.50.mask.png": encoded(IMAGES[8]), "v_1.50.png": encoded(IMAGES[9]), "readme.md": b""}
    assert told(tmp_path, files) == {"0": (1, ""), "1": (3, ""), "2": (5, ""), "v_1.50": (9, "")}
    assert "4 images stand beside those of their samples, such as 0.mask.png; left out" in caplog.text
    assert "1 of 5 samples have no image that is read, such as readme (.md); left out" in caplog.text


def test_equal_names_are_two_in_two_shards_and_refused_in_one(tmp_path: Path):
    for part in range(2):
        shard(tmp_path / f"{part}.tar", {"0.png": encoded(IMAGES[part]), "0.cls": str(5 + part).encode()})
    data = Shards(str(tmp_path)).load()
    assert [data.classes[i] for i in data.conditions["label"]] == ["5", "6"]
    with tarfile.open(tmp_path / "1.tar", "a") as tar:
        tar.add(tmp_path / "0.tar", "0.png")
    with pytest.raises(Refused, match=r"1.tar holds 0.png twice: each file needs a name of its own"):
        Shards(str(tmp_path)).load()


def test_a_hard_link_is_what_it_names_and_others_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    shard(tmp_path / "a.tar", {"0.png": encoded(IMAGES[0])})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for kind, name in ((tarfile.LNKTYPE, "1.png"), (tarfile.SYMTYPE, "2.png")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "0.png"
            tar.addfile(link)
    assert len(Shards(str(tmp_path)).load()) == 2
    assert "1 links and other special files are left out, such as 2.png" in caplog.text


def test_packed_shards_say_how_to_unpack_them(tmp_path: Path):
    packed = tmp_path / "my data.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(__file__, "0.png")
    for path in (packed, tmp_path):
        with pytest.raises(Refused, match=r"my data.tar.gz is packed.*`gunzip '.*my data.tar.gz'`"):
            resolve.open(str(path))
    packed.rename(tmp_path / "b.tar")
    with pytest.raises(Refused, match=r"b.tar is packed.*`mv .*b.tar .*b.tar.gz && gunzip .*b.tar.gz`"):
        resolve.open(str(tmp_path))


def test_an_archive_that_ends_with_a_file_is_refused(folder: Path):
    """Cut at the end of any file it reads like a whole one but for the zeros at its end; one in another is no more."""
    path = folder / "data-00.tar"
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        ends = [member.offset_data + -(-member.size // 512) * 512 for member in tar]
    for end in ends:
        path.write_bytes(content[:end])
        with pytest.raises(Refused, match=f"data-00.tar is cut short: it ends with a file at byte {end}"):
            Shards(str(path)).load()
    path.write_bytes(content + content)
    with pytest.raises(Refused, match=r"data-00.tar is cut short or damaged at byte"):
        Shards(str(path)).load()
    path.write_bytes(content[: ends[-1] + 512])
    assert len(Shards(str(path)).load()) == 4


@pytest.mark.parametrize("kept", [700, 1700, 6000])
def test_a_shard_cut_short_is_refused(folder: Path, kept: int):
    path = folder / "data-00.tar"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refused, match=r"cut short|damaged"):
        Shards(str(folder)).load()


def test_rubbish_behind_the_first_files_is_refused(folder: Path):
    path = folder / "data-00.tar"
    content = bytearray(path.read_bytes())
    content[1024:1536] = b"x" * 512
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"data-00.tar is cut short or damaged"):
        Shards(str(path)).load()


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("none.tar", {}, "there is no file .*none.tar; shards are .tar files"),
        ("data-{00..05}.tar", {}, "there is no file .*data-03.tar"),
        ("data-{5..1}.tar", {}, r"\{5..1\} counts up"),
        ("", {"labels": "folders"}, "write inside"),
        ("", {"channels": 2}, "channels = 2"),
    ],
)
def test_places_and_wishes_that_do_not_fit_are_refused(folder: Path, path: str, fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        Shards(f"{folder}/{path}", **fields).load()
