"""Folders as people have them: linked, mixed, in parts, with pages, with accents; nothing is lost unsaid."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data import recipe_for, resolve
from undiffuse.data.check import check
from undiffuse.data.images.decode import Images
from undiffuse.data.source import Peek
from undiffuse.data.sources import folder
from undiffuse.data.sources.folder import Folder
from undiffuse.training import start


def put(path: Path, array: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8) if array is None else array).save(path)


def test_links_are_followed_and_every_folder_is_read_once(tmp_path: Path):
    for i, name in enumerate(("real/cat", "real/dog/deep", "data/bird")):
        put(tmp_path / name / "a.png", np.full((4, 4), i, np.uint8))
    data = tmp_path / "data"
    (data / "cat").symlink_to("../real/cat")
    (data / "dog").symlink_to(tmp_path / "real" / "dog")
    (data / "bird" / "b.png").symlink_to(data / "bird" / "a.png")
    found = Folder(str(data)).load()
    assert (list(found.names), found.classes) == (
        ["bird/a.png", "bird/b.png", "cat/a.png", "dog/deep/a.png"],
        ("bird", "cat", "dog"),
    )
    assert "remarks" not in found.notes
    (data / "bird" / "up").symlink_to("..")
    (tmp_path / "real" / "cat" / "round").symlink_to(data)
    (data / "above").symlink_to(tmp_path)
    (data / "again").symlink_to("bird")
    (data / "self").symlink_to("self")
    again = Folder(str(data)).load()
    assert list(again.names) == list(found.names)
    (remark,) = again.notes["remarks"]
    assert remark == (
        "folders that were not read: above (the same folder as a folder above), again (the same folder as bird), "
        f"bird/up (the same folder as {data}), cat/round (the same folder as {data})"
    )
    assert resolve.table(str(data))["name"] == "folder"


def test_a_link_that_leads_nowhere_is_a_broken_image(tmp_path: Path):
    put(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("nothing")
    with pytest.raises(Refused, match=r"1 of 2 images in .* is broken: b.png \(.*No such file"):
        Folder(str(tmp_path)).load()
    assert len(Folder(str(tmp_path), skip_broken=True).load()) == 1


def test_what_is_no_image_is_counted_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder, "ENDINGS", (".png", ".ppm"))
    for name in ("a.png", "b.ppm"):
        put(tmp_path / name)
    for name in ("a.heic", "b.HEIC", "a.dcm", "a.txt", "labels.csv", "README", ".hidden"):
        (tmp_path / name).write_text("")
    data = Folder(str(tmp_path)).load()
    assert len(data) == 2
    assert data.notes["remarks"] == [
        "left out, since they are no images that can be read here: 2 .heic, 1 .dcm (pip install pillow-heif reads them)"
    ]
    assert data.notes["remarks"][0] in check(str(tmp_path)).warnings


@pytest.mark.parametrize("classes", [("cat", "dog"), ()])
def test_parts_of_a_data_set_are_no_classes(tmp_path: Path, classes: tuple[str, ...]):
    for part, count in (("train", 3), ("val", 2), ("Test", 1)):
        for name in classes or ("",):
            for i in range(count):
                put(tmp_path / part / name / f"{i}.png", np.full((4, 4), count, np.uint8))
    each = max(1, len(classes))
    data = Folder(str(tmp_path)).load()
    assert (len(data), data.classes, np.asarray(data.x).max()) == (3 * each, classes, 3)
    (remark,) = data.notes["remarks"]
    assert remark == (
        f"the part 'train' of the data set is read, and not Test ({each}), val ({2 * each}): --set data.split=all "
        "reads all; --set data.split=none: the parts are classes"
    )
    val, all_, none = (Folder(str(tmp_path), split=split).load() for split in ("val", "all", "none"))
    assert (len(val), val.classes, np.asarray(val.x).max(), dict(val.notes)) == (2 * each, classes, 2, {})
    assert (len(all_), all_.classes) == (6 * each, classes)
    assert none.classes == ("Test", "train", "val")
    assert Folder(str(tmp_path)).peek().labelled == bool(classes)
    with pytest.raises(Refused, match=r"has no folder 'vall' \(did you mean 'val'\?\); it has: Test, train, val"):
        Folder(str(tmp_path), split="vall").load()
    (tmp_path / "train").rename(tmp_path / "car")
    assert Folder(str(tmp_path)).load().classes == ("Test", "car", "val")
    (tmp_path / "car").rename(tmp_path / "test2017")
    with pytest.raises(
        Refused, match=r"has the folders Test, test2017, val, .*data.split=Test, or --set data.split=all"
    ):
        Folder(str(tmp_path)).load()


def test_names_that_look_alike_are_one_name(tmp_path: Path):
    for i, form in enumerate(("NFC", "NFD")):
        put(tmp_path / "images" / unicodedata.normalize(form, "café") / f"{i}{unicodedata.normalize(form, 'é')}.png")
    data = Folder(str(tmp_path / "images")).load()
    assert data.classes == (unicodedata.normalize("NFC", "café"),)
    csv = tmp_path / "labels.csv"
    for form in ("NFC", "NFD"):
        csv.write_text("file,label\n" + unicodedata.normalize(form, "café/0é.png,é\ncafé/1é.png,é\n"))
        assert Folder(str(tmp_path / "images"), labels=str(csv)).load().classes == (unicodedata.normalize("NFC", "é"),)
    for file in (tmp_path / "images").rglob("*.png"):
        name = unicodedata.normalize("NFD", str(file.relative_to(tmp_path / "images").with_suffix(".txt")))
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_text(file.name[0])
    told = Folder(str(tmp_path / "images"), conditions={"caption": "beside"}).load().conditions["caption"]
    assert sorted(told.tolist()) == ["0", "1"]


def test_pages_are_said_and_become_items_or_frames(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    levels = [np.full((4, 6), level, np.uint8) for level in range(6)]
    for name, part in (("cat/a", levels[:3]), ("dog/b", levels[3:])):
        images = [Image.fromarray(level) for level in part]
        (tmp_path / name).parent.mkdir()
        images[0].save((tmp_path / name).with_suffix(".tif"), save_all=True, append_images=images[1:])
        (tmp_path / name).with_suffix(".txt").write_text(name[-1])
    wanted: Any = {"conditions": {"caption": "beside"}}
    first, each, frames = (
        Folder(str(tmp_path), pages=pages, **wanted).load() for pages in ("first", "items", "frames")
    )
    assert first.x[:, 0, 0, 0].tolist() == [0, 3]
    assert first.notes["remarks"][0].startswith(
        "2 of 2 files have 3 pages: only the first is read; --set data.pages=it"
    )
    assert each.x[:, 0, 0, 0].tolist() == list(range(6))
    assert (each.labels.tolist(), each.conditions["caption"].tolist()) == ([0] * 3 + [1] * 3, list("aaabbb"))  # pyright: ignore[reportOptionalMemberAccess]
    assert list(each.names)[2:4] == ["cat/a.tif[2]", "dog/b.tif[0]"]
    assert frames.x.shape == (2, 1, 3, 4, 6)
    assert frames.x[1, 0, :, 0, 0].tolist() == [3, 4, 5]
    assert Folder(str(tmp_path), pages="frames").peek() == Peek((1, 3, 4, 6), True)
    start.data(recipe_for.recipe(str(tmp_path)).override(["train.held_out=0"]))
    assert f"{tmp_path.name}: 2 of 2 files have 3 pages: only the first is read" in caplog.text
    put(tmp_path / "cat" / "c.png", levels[0])
    with pytest.raises(
        Refused, match=r"different numbers of pages: 3 \(2, .*1 \(1, such as cat/c.png\).\nGive --set data.pages=items"
    ):
        Folder(str(tmp_path), pages="frames").load()
    with pytest.raises(Refused, match=r"cat/a.tif .3 pages have more pixels than most_pixels = 50"):
        Folder(str(tmp_path), pages="frames", most_pixels=50).load()


def test_what_took_long_to_decode_is_kept_with_other_labels_if_these_change(
    tmp_path: Path, cache: Path, monkeypatch, caplog
):
    for i in range(3):
        put(tmp_path / "images" / f"{i}.png", np.full((4, 4), i, np.uint8))
    csv = tmp_path / "labels.csv"
    csv.write_text("file,label\n0.png,a\n1.png,b\n2.png,b\n")
    wanted = Folder(str(tmp_path / "images"), labels=str(csv))
    first = wanted.load()
    assert not list(cache.iterdir())
    monkeypatch.setattr("undiffuse.data.images.encoded.LONG", 0.0)
    wanted.load()
    assert re.search(
        r"the decoded data are kept for the next time: 48 bytes in .* \(UNDIFFUSE_CACHE says where\)", caplog.text
    )
    monkeypatch.setattr(Images, "items", lambda *_: pytest.fail("decoded again"))
    again = wanted.load()
    np.testing.assert_array_equal(again.x, first.x)
    assert isinstance(again.x, np.ndarray)
    csv.write_text("file,label\n0.png,b\n1.png,a\n2.png,c\n")
    assert (wanted.load().labels.tolist(), wanted.load().classes) == ([1, 0, 2], ("a", "b", "c"))  # pyright: ignore[reportOptionalMemberAccess]
    monkeypatch.undo()
    monkeypatch.setattr("undiffuse.data.decoded_cache._free", lambda _: 0)
    monkeypatch.setattr("undiffuse.data.images.encoded.LONG", 0.0)
    assert len(Folder(str(tmp_path / "images")).load()) == 3  # without room it goes on as if nothing took long
