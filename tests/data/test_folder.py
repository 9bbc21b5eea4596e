"""A folder of images comes back as their pixels, and whatever makes it unusable is refused by name."""

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data.images.decode import Images
from undiffuse.data.rows import MappedRows
from undiffuse.data.source import Peek
from undiffuse.data.sources.folder import Folder

RANDOM = np.random.default_rng(0)


def pixels(height: int = 6, width: int = 6, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def put(path: Path, array: np.ndarray | None = None, **how: object) -> np.ndarray:
    array = pixels() if array is None else array
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)  # pyright: ignore[reportArgumentType]
    return array


def test_pixels_and_labels_come_back_in_the_order_of_the_paths(tmp_path: Path):
    names = ["dog/b.PNG", "dog/deep/er/a.bmp", "cat/10.png", "cat/2.TIF", "ant/x.png"]
    arrays = {name: put(tmp_path / name, pixels(channels=1)) for name in names}
    data = Folder(str(tmp_path)).load()
    order = sorted(names)
    assert data.classes == ("ant", "cat", "dog")
    np.testing.assert_array_equal(data.x, np.stack([arrays[name] for name in order])[:, None])
    np.testing.assert_array_equal(data.labels, [data.classes.index(name.split("/")[0]) for name in order])
    assert data.name == tmp_path.name


def test_classes_that_are_numbers_are_sorted_by_size(tmp_path: Path):
    for name in ("10", "2", "3.0"):
        put(tmp_path / name / "x.png", pixels(channels=1))
    assert Folder(str(tmp_path)).load().classes == ("2", "3.0", "10")


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "webp", "png", "bmp", "tiff"])
def test_formats(tmp_path: Path, ending: str):
    array = np.full((8, 8, 3), (250, 130, 10), np.uint8)
    put(tmp_path / f"a.{ending}", array)
    data = Folder(str(tmp_path)).load()
    assert data.x.shape == (1, 3, 8, 8)
    assert data.labels is None
    assert np.abs(data.x[0].astype(int) - array.transpose(2, 0, 1)).max() <= 4


def test_hidden_and_other_files_are_left_out(tmp_path: Path):
    put(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "b.png").write_bytes(b"no image")
    (tmp_path / "._a.png").write_bytes(b"no image")
    assert len(Folder(str(tmp_path)).load()) == 1


def test_size_cuts_out_the_centre_of_the_shorter_side(tmp_path: Path):
    array = np.zeros((8, 16, 3), np.uint8)
    array[:, 4:12] = 200
    put(tmp_path / "wide.png", array)
    put(tmp_path / "tall.png", array.transpose(1, 0, 2))
    assert (np.asarray(Folder(str(tmp_path), size=8).load().x) == 200).all()


def test_resizing_is_antialiased(tmp_path: Path):
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    put(tmp_path / "board.png", board)
    small = np.asarray(Folder(str(tmp_path), size=8).load().x).astype(float)
    assert np.abs(small - 127.5).max() < 10  # picking pixels would give 0 or 255


def test_channels_convert_and_lay_what_is_clear_on_white(tmp_path: Path):
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2] = (255, 0, 0, 255)
    put(tmp_path / "clear.png", clear)
    put(tmp_path / "grey.png", np.full((4, 4), 7, np.uint8))
    rgb = {channels: Folder(str(tmp_path), channels=channels).load().x for channels in (1, 3, 4)}
    np.testing.assert_array_equal(rgb[3][0, :, 0, 0], [255, 0, 0])
    np.testing.assert_array_equal(rgb[3][0, :, 3, 0], [255, 255, 255])
    np.testing.assert_array_equal(rgb[3][1], np.full((3, 4, 4), 7))
    np.testing.assert_array_equal(rgb[4][0], clear.transpose(2, 0, 1))
    np.testing.assert_array_equal(rgb[1][1], np.full((1, 4, 4), 7))


def test_a_palette_with_a_clear_colour_has_four_channels(tmp_path: Path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([10, 20, 30, 40, 50, 60] + [0] * 762)
    image.save(tmp_path / "a.png", transparency=0)
    assert Folder(str(tmp_path)).load().x[0, :, 0, 0].tolist() == [40, 50, 60, 255]


def test_sixteen_bits_are_kept_unless_colour_is_asked_for(tmp_path: Path):
    array = RANDOM.integers(0, 2**16, (5, 5), dtype=np.uint16)
    put(tmp_path / "deep.png", array)
    kept = Folder(str(tmp_path)).load().x
    assert kept.dtype == np.uint16
    np.testing.assert_array_equal(kept[0, 0], array)
    assert Folder(str(tmp_path), size=4).load().x.dtype == np.uint16


@pytest.mark.parametrize(("low", "high"), [(0, 4095), (30_000, 30_999), (0, 65_535)])
def test_colour_of_16_bit_grey_fills_8_bits_whatever_part_of_its_range_is_used(tmp_path: Path, low: int, high: int):
    levels = np.linspace(low, high, 800).round().astype(np.uint16).reshape(2, 20, 20)
    for i, array in enumerate(levels):
        put(tmp_path / f"{i}.png", array)
    data = Folder(str(tmp_path), channels=3).load()
    assert data.x.dtype == np.uint8
    np.testing.assert_allclose(data.x[:, 0], (levels.astype(float) - low) * 255 / (high - low), atol=0.501)
    np.testing.assert_array_equal(data.x, data.x[:, :1].repeat(3, 1))
    assert len(np.unique(data.x)) == 256
    assert data.describe()["scaled"] == [low, high]
    assert data.describe()["remarks"] == [f"16-bit grey becomes 8 bit: levels from {low} to {high} become 0 to 255"]


def test_a_cameras_orientation_is_followed(tmp_path: Path):
    array = np.zeros((16, 8, 3), np.uint8)
    array[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    put(tmp_path / "a.png", array, exif=exif.tobytes())
    x = Folder(str(tmp_path)).load().x
    np.testing.assert_array_equal(x[0], np.rot90(array, -1).transpose(2, 0, 1))


def test_of_moving_pictures_the_first_frame_is_taken(tmp_path: Path):
    frames = [Image.fromarray(np.full((4, 4), level, np.uint8)) for level in (30, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (np.asarray(Folder(str(tmp_path), channels=1).load().x) == 30).all()


def test_a_bar_appears_only_where_it_takes_long(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch):
    for i in range(2):
        put(tmp_path / f"{i}.png")
    Folder(str(tmp_path)).load()
    assert capfd.readouterr().err == ""
    seconds = count(step=1.1)
    monkeypatch.setattr("tqdm.std.time", lambda: next(seconds))
    monkeypatch.setattr("undiffuse.progress.time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    Folder(str(tmp_path)).load()
    assert "reading" in capfd.readouterr().err


def test_mixed_sizes_are_refused_with_the_sizes(tmp_path: Path):
    for i in range(3):
        put(tmp_path / f"{i}.png")
    put(tmp_path / "z.png", pixels(6, 9))
    with pytest.raises(
        Refused,
        match=r"different sizes: 6x6 \(3, such as 0.png\), 9x6 \(1, such as z.png\).\nGive --set data.size=6, or",
    ):
        Folder(str(tmp_path)).load()


def test_many_sizes_are_summed_up(tmp_path: Path):
    for i in range(7):
        put(tmp_path / f"{i}.png", pixels(6, 6 + i))
    with pytest.raises(Refused, match=r"and 3 more"):
        Folder(str(tmp_path)).load()


def test_mixed_channels_are_refused_with_the_channels(tmp_path: Path):
    put(tmp_path / "a.png")
    put(tmp_path / "b.png", pixels(channels=1))
    put(tmp_path / "c.png", pixels(channels=1).astype(np.uint16))
    found = r"3 channels \(1, such as a.png\), 1 channel \(1, such as b.png\), 1 channel of 16 bit \(1, such as c.png\)"
    with pytest.raises(Refused, match=f"different channels: {found}.\nGive --set data.channels="):
        Folder(str(tmp_path)).load()


def test_a_broken_image_is_named(tmp_path: Path):
    put(tmp_path / "a.png", pixels(64, 64))
    put(tmp_path / "b.png", pixels(64, 64))
    whole = (tmp_path / "b.png").read_bytes()
    for content in (whole[: len(whole) // 2], b"no image", b"", whole[:20]):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(Refused, match=r"1 of 2 images in .* is broken: b.png \(.+\)\n.*--skip-broken"):
            Folder(str(tmp_path)).load()


def test_an_image_that_would_fill_the_memory_is_refused_unopened(tmp_path: Path):
    put(tmp_path / "a.png", np.zeros((100, 100), np.uint8))
    with pytest.raises(Refused, match=r"a.png \(100 x 100 pixels, more than most_pixels = 9999\)"):
        Folder(str(tmp_path), most_pixels=9999).load()
    put(tmp_path / "a.png", np.zeros((1, 40_000), np.uint8))
    with pytest.raises(Refused, match=r"a.png \(40000 x 1 pixels, a side above most_side = 32768\)"):
        Folder(str(tmp_path)).load()


@pytest.mark.parametrize("limit", [5000, 9000])
def test_pillows_own_limit_is_refused_as_well(tmp_path: Path, limit: int, monkeypatch):
    put(tmp_path / "a.png", np.zeros((110, 100), np.uint8))  # a warning above the limit, an error above twice the limit
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(Refused, match=r"a.png \(more pixels than most_pixels allows"):
        Folder(str(tmp_path)).load()


def test_folders_that_are_none_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"there is no folder .*missing"):
        Folder(str(tmp_path / "missing")).load()
    with pytest.raises(Refused, match=r"the folder .* is empty"):
        Folder(str(tmp_path)).load()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(Refused, match=r"no images in .*: 1 files, such as notes.txt; read are \.png \.jpg"):
        Folder(str(tmp_path)).load()
    with pytest.raises(Refused, match=r"there is no folder .* \(a file: use --set data.name=file\)"):
        Folder(str(tmp_path / "notes.txt")).load()


def test_loose_images_beside_classes_are_refused(tmp_path: Path):
    put(tmp_path / "a.png")
    put(tmp_path / "cat" / "b.png")
    with pytest.raises(Refused, match=r"both loose \(a.png\) and in subfolders \(cat/b.png\)"):
        Folder(str(tmp_path)).load()


@pytest.mark.parametrize("size", [None, 5])
def test_floats_stay_floats_and_16_bits_16_bits(tmp_path: Path, size: int | None):
    for dtype, ending in ((np.float32, "tif"), (np.uint16, "png")):
        array = (RANDOM.uniform(size=(10, 10)) * 3e4).astype(dtype)
        folder = tmp_path / ending
        put(folder / f"a.{ending}", array)
        x = Folder(str(folder), size=size).load().x
        assert x.dtype == dtype
        want = array if size is None else np.asarray(
            Image.fromarray(array.astype(np.float32)).resize((5, 5), Image.Resampling.BICUBIC)
        )  # fmt: skip
        np.testing.assert_allclose(x[0, 0], want, atol=0.5 if dtype == np.uint16 else 1e-3)


def test_floats_among_others_are_refused(tmp_path: Path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    put(tmp_path / "b.png", pixels(4, 4, 1))
    with pytest.raises(Refused, match=r"1 channel of float \(1, such as a.tif\)"):
        Folder(str(tmp_path)).load()
    with pytest.raises(Refused, match=r"images of floats, which stay what they are: leave data.channels away"):
        Folder(str(tmp_path), channels=3).load()


def test_whole_numbers_of_32_bits_are_refused(tmp_path: Path):
    Image.fromarray(np.zeros((4, 4), np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(Refused, match=r"a.tif \(pixels of 32-bit integers; 8-bit images"):
        Folder(str(tmp_path)).load()


def test_broken_images_are_counted_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for i in range(20):
        put(tmp_path / "ab"[i % 2] / f"{i:02d}.png", np.full((64, 64), i, np.uint8))
    for i in range(0, 14, 2):
        whole = (tmp_path / "a" / f"{i:02d}.png").read_bytes()
        (tmp_path / "a" / f"{i:02d}.png").write_bytes(whole[: len(whole) // 2] if i % 4 else b"none")
    with pytest.raises(Refused, match=r"7 of 20 images in .* are broken: a/00.png .*a/08.png.* and 2 more") as refused:
        Folder(str(tmp_path)).load()
    assert "a/10.png" not in str(refused.value)
    data = Folder(str(tmp_path), skip_broken=True).load()
    assert data.x[:, 0, 0, 0].tolist() == [14, 16, 18, *range(1, 20, 2)]
    assert data.conditions["label"].tolist() == [0] * 3 + [1] * 10
    assert list(data.names) == [f"a/{i}.png" for i in (14, 16, 18)] + [f"b/{i:02d}.png" for i in range(1, 20, 2)]
    assert data.describe()["broken"]["count"] == 7
    assert "7 of 20 images" in caplog.text


def test_where_all_are_broken_there_is_nothing_to_go_on_with(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"none")
    with pytest.raises(Refused, match=r"1 of 1 images in .* is broken: a.png \([^)]*\)$"):
        Folder(str(tmp_path), skip_broken=True).load()


@pytest.mark.parametrize("ending", ["csv", "json", "json-of-pairs"])
def test_labels_come_from_a_file(tmp_path: Path, ending: str):
    for name in ("x/a.png", "x/b.png", "c.png"):
        put(tmp_path / "images" / name)
    labels = {"x/a.png": "cat", "c.png": "dog", "x/b.png": "cat", "other.png": "cow"}
    path = tmp_path / f"labels.{ending[:4].rstrip('-')}"
    if ending == "csv":
        path.write_text("label,file\n" + "".join(f"{label},{file}\n" for file, label in labels.items()))
    else:
        path.write_text(json.dumps({"labels": list(labels.items())} if "pairs" in ending else labels))
    data = Folder(str(tmp_path / "images"), labels=str(path)).load()
    assert (data.classes, data.conditions["label"].tolist()) == (("cat", "dog"), [1, 0, 0])
    put(tmp_path / "images" / "new.png")
    with pytest.raises(Refused, match=r"has no label for 1 of 4 images, such as new\.png"):
        Folder(str(tmp_path / "images"), labels=str(path)).load()
    assert Folder(str(tmp_path / "images"), labels="none").load().labels is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.md", "", r"labels = '.*labels.md': write folders, none, or the path"),
        ("labels.json", "[1, 2", "labels.json holds no labels"),
        ("labels.json", "[" * 100_000, "labels.json holds no labels"),
        ("labels.json", "3", "labels.json holds no labels"),
        ("labels.csv", "a.png\n", "has one column; it needs two"),
        ("labels.csv", "file,label\na.png,x\na.png,y\n", "more than one label for a.png: leave one of them"),
        ("labels.csv", "file,label\na.png\n", "row 2 has 1 cells instead of 2"),
        ("none.csv", None, "cannot read labels .*none.csv"),
    ],
)  # fmt: skip
def test_files_of_labels_that_are_none_are_refused(tmp_path: Path, name: str, content: str | None, message: str):
    put(tmp_path / "images" / "a.png")
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(Refused, match=message):
        Folder(str(tmp_path / "images"), labels=str(tmp_path / name)).load()


def test_what_does_not_fit_the_memory_is_decoded_once(tmp_path: Path, little: None, cache: Path, monkeypatch):
    for i in range(12):
        put(tmp_path / "ab"[i % 2] / f"{i}.png", np.full((8, 8), i, np.uint8))
    (tmp_path / "a" / "2.png").write_bytes(b"none")
    folder = Folder(str(tmp_path), skip_broken=True)
    first = folder.load()
    assert isinstance(first.x, MappedRows)
    monkeypatch.setattr(Images, "items", lambda *_: pytest.fail("decoded again"))
    again = folder.load()
    assert again.describe() == first.describe()
    assert list(again.names) == list(first.names)
    assert again.describe()["broken"]["examples"].keys() == {"a/2.png"}
    np.testing.assert_array_equal(np.asarray(again.x)[:, 0, 0, 0], [0, 10, 4, 6, 8, 1, 11, 3, 5, 7, 9])
    assert len(list(cache.iterdir())) == 1


def test_a_changed_folder_is_decoded_anew(tmp_path: Path, little: None, cache: Path):
    put(tmp_path / "a.png", np.full((11, 11), 1, np.uint8))
    assert Folder(str(tmp_path)).load().x[0].max() == 1
    put(tmp_path / "a.png", np.full((11, 11), 200, np.uint8), compress_level=0)
    assert Folder(str(tmp_path)).load().x[0].max() == 200
    assert Folder(str(tmp_path), size=4).load().shape == (1, 4, 4)
    assert len(list(cache.iterdir())) == 2  # the small ones fit the memory


def test_a_glance_reads_one_image(tmp_path: Path):
    put(tmp_path / "a" / "a.png", pixels(6, 9))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "b.png").write_bytes(b"none")
    assert Folder(str(tmp_path)).peek() == Peek((3, 6, 9), True)
    assert Folder(str(tmp_path), size=4, channels=1, labels="none").peek() == Peek((1, 4, 4), False)


def test_impossible_wishes_are_refused():
    with pytest.raises(Refused, match=r"size = 0: the side of an image has at least 1 pixel"):
        Folder(".", size=0)
    with pytest.raises(Refused, match=r"channels = 2: images have 1 \(grey\), 3 \(RGB\) or 4 \(RGBA\)"):
        Folder(".", channels=2)


def test_a_class_whose_folder_has_a_name_that_no_model_could_hold_is_refused(tmp_path: Path):
    put(tmp_path / "dog" / "a.png")
    put(tmp_path / "caf\udce9" / "a.png")  # in the encoding of another system
    with pytest.raises(Refused, match=r"the class 'caf\\udce9' has a name that is no UTF-8: rename its folder"):
        Folder(str(tmp_path)).load()
    assert len(Folder(str(tmp_path), labels="none").load()) == 2
