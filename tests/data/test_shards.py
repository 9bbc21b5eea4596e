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
from undiffuse.data.decode import Images
from undiffuse.data.rows import Rows
from undiffuse.data.shards import Shards
from undiffuse.data.source import Glance

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
    assert Shards(f"{folder}{path}").glance() == Glance((3, 6, 5), True)


def test_one_shard_resized_without_labels(folder: Path):
    data = Shards(str(folder / "data-01.tar"), size=4, channels=1, labels="none").load()
    assert (data.x.shape, data.labels, data.name) == ((4, 1, 4, 4), None, "data-01")


def test_what_does_not_fit_the_memory_is_decoded_once(folder: Path, little: None, monkeypatch: pytest.MonkeyPatch):
    first = Shards(str(folder)).load()
    monkeypatch.setattr(Images, "pixels", lambda *_: pytest.fail("decoded again"))
    again = Shards(str(folder)).load()
    assert isinstance(again.x, Rows)
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
        ({"1.txt": b""}, r"no images in .*: 1 samples, such as 1; read are \.png"),
        ({"1.png": encoded(IMAGES[0]), "1.cls": b"-1"}, "goes down to -1"),
        ({}, "no images in|is no .tar file"),
    ],
)
def test_shards_that_cannot_be_used_are_refused(tmp_path: Path, files: dict[str, bytes], message: str):
    shard(tmp_path / "a.tar", files)
    with pytest.raises(Refused, match=message):
        Shards(str(tmp_path / "a.tar")).load()


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
