"""`undiffuse sample` writes what was asked for, and the same samples in every form."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from undiffuse import pictures
from undiffuse.core.errors import Refused
from undiffuse.pictures import layout
from undiffuse.pictures.layout import Layout

Undiffuse = Callable[..., Any]


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def tiles(path: Path, places: Layout) -> np.ndarray:
    """The pictures of 8 x 8 pixels that lie at these places of a sheet, (n, 8, 8)."""
    sheet, k = np.asarray(Image.open(path).convert("L")), places.scale
    assert sheet.shape == places.size[::-1]
    assert 8 * k >= 64  # large enough to be seen
    return np.array([sheet[y : y + 8 * k, x : x + 8 * k][::k, ::k] for x, y in places.tiles])


def test_arrays_hold_images_labels_and_seed_and_can_be_trained_on(undiffuse_: Undiffuse, digits: Path):
    done = undiffuse_("sample", digits, "-n", 12, "--seed", 3, "--format", "npz", "-o", "some.npz")
    assert done.status == 0
    found = arrays(Path("some.npz"))
    assert found["images"].shape == (12, 8, 8)
    assert found["images"].dtype == np.uint8
    assert found["labels"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert found["seed"] == 3
    assert found["classes"].tolist() == list("0123456789")

    from undiffuse.data.sources.file import File

    data = File("some.npz").load()
    assert data.x.shape == (12, 1, 8, 8)
    assert data.labels is not None


def test_what_was_written_is_said_with_network_calls_and_time(undiffuse_: Undiffuse, digits: Path):
    done = undiffuse_("sample", digits, "-n", 2, "--guidance", 1, "-o", "a.png")
    assert "a.png: 2 samples, 3 network calls a sample" in done.err  # three steps, one call each
    assert " s, seed 0" in done.err
    assert done.out == ""  # what is piped on is data alone


def test_guidance_costs_its_second_call(undiffuse_: Undiffuse, digits: Path):
    assert "6 network calls" in undiffuse_("sample", digits, "-n", 2, "--guidance", 2, "-o", "a.png").err


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_batch_changes_no_sample(undiffuse_: Undiffuse, digits: Path, batch: int):
    undiffuse_("sample", digits, "-n", 7, "--precision", "float32", "-o", "all.npz")
    undiffuse_("sample", digits, "-n", 7, "--precision", "float32", "--batch", batch, "-o", "parts.npz")
    there = arrays(Path("all.npz"))["images"].astype(int), arrays(Path("parts.npz"))["images"].astype(int)
    assert np.abs(there[0] - there[1]).max() <= 1  # kernels for other batch sizes may round a grey level elsewhere


def test_sample_i_does_not_depend_on_how_many_there_are(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 3, "--precision", "float32", "-o", "few.npz")
    undiffuse_("sample", digits, "-n", 11, "--precision", "float32", "-o", "many.npz")
    few, many = arrays(Path("few.npz")), arrays(Path("many.npz"))
    assert np.abs(few["images"].astype(int) - many["images"][:3]).max() <= 1
    assert few["labels"].tolist() == many["labels"][:3].tolist()


def test_another_seed_draws_other_samples(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 2, "-o", "a.npz")
    undiffuse_("sample", digits, "-n", 2, "--seed", 1, "-o", "b.npz")
    assert (arrays(Path("a.npz"))["images"] != arrays(Path("b.npz"))["images"]).any()


def test_a_grid_has_one_class_a_row(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 23, "-o", "grid.png")
    undiffuse_("sample", digits, "-n", 23, "-o", "grid.npz")
    places = pictures.arranged(23, (8, 8), np.arange(23) % 10, "0123456789")
    np.testing.assert_array_equal(tiles(Path("grid.png"), places), arrays(Path("grid.npz"))["images"])
    assert [text for _, _, text in places.words] == list("0123456789")
    for label, (left, top, _) in enumerate(places.words):  # each name stands before the pictures of its class
        row = [places.tiles[i] for i in range(23) if i % 10 == label]
        assert all(y <= top < y + 8 * places.scale and x > left for x, y in row)


def test_a_folder_has_one_numbered_file_an_image(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 3, "-o", "a.npz")
    undiffuse_("sample", digits, "-n", 3, "--format", "png", "-o", "images")
    files = sorted(Path("images").iterdir())
    assert [file.name for file in files] == ["0000.png", "0001.png", "0002.png"]
    np.testing.assert_array_equal([np.asarray(Image.open(file)) for file in files], arrays(Path("a.npz"))["images"])


def test_a_label_may_be_a_name_or_a_number(undiffuse_: Undiffuse, digits: Path):
    for label in ("3", 3):
        undiffuse_("sample", digits, "-n", 2, "--label", label, "-o", "a.npz")
        assert arrays(Path("a.npz"))["labels"].tolist() == [3, 3]


def test_without_a_place_the_run_folder_takes_the_picture(undiffuse_: Undiffuse, digits: Path):
    assert undiffuse_("sample", digits, "-n", 4).err.startswith(str(digits / "samples.png"))
    assert (digits / "samples.png").exists()
    assert list(Path().iterdir()) == []


def test_inside_a_folder_that_is_there(undiffuse_: Undiffuse, digits: Path):
    Path("there").mkdir()
    undiffuse_("sample", digits, "-n", 4, "-o", "there")
    assert [path.name for path in Path("there").iterdir()] == ["samples.png"]
    assert undiffuse_("sample", digits, "-n", 4, "-o", "new/").status == 0
    assert [path.name for path in Path("new").iterdir()] == ["samples.png"]


@pytest.mark.parametrize("settings", [["eta=0.5"], ["sampler.eta=0.5"]])
def test_a_sampler_and_its_fields(undiffuse_: Undiffuse, digits: Path, settings: list[str]):
    common = ["-n", 2, "--guidance", 1, "--steps", 4]
    undiffuse_("sample", digits, *common, "--sampler", "ddim", "-o", "a.npz")
    done = undiffuse_("sample", digits, *common, "--sampler", "ddim", "--set", *settings, "-o", "b.npz")
    assert "4 network calls" in done.err
    assert (arrays(Path("a.npz"))["images"] != arrays(Path("b.npz"))["images"]).any()


def test_a_field_of_the_recipes_own_sampler(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 2, "-o", "a.npz")
    assert undiffuse_("sample", digits, "-n", 2, "--set", "order=1", "-o", "b.npz").status == 0
    assert (arrays(Path("a.npz"))["images"] != arrays(Path("b.npz"))["images"]).any()


def test_a_strip_ends_with_the_samples(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 3, "-o", "a.npz")
    undiffuse_("sample", digits, "-n", 3, "--trajectory", "strip", "-o", "strip.png")
    places = layout.stripped(3, (8, 8), ["noise", "step 1", "step 2", "step 3"], ["0", "1", "2"])
    shown = tiles(Path("strip.png"), places).reshape(3, 4, 8, 8)
    np.testing.assert_array_equal(shown[:, -1], arrays(Path("a.npz"))["images"])
    assert (shown[:, 0] != shown[:, -1]).any()


def test_an_animation_ends_with_the_samples(undiffuse_: Undiffuse, digits: Path):
    undiffuse_("sample", digits, "-n", 20, "-o", "grid.png")
    undiffuse_("sample", digits, "-n", 20, "--trajectory", "gif", "-o", "way.gif")
    with Image.open("way.gif") as film:
        frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(film)]
    assert len(frames) == 4  # noise and three steps
    np.testing.assert_array_equal(frames[-1], np.asarray(Image.open("grid.png")))


def test_points_become_a_scatter_plot_or_numbers(undiffuse_: Undiffuse, points: Path):
    assert undiffuse_("sample", points, "-n", 50, "-o", "a.png").status == 0
    assert undiffuse_("sample", points, "-n", 50, "-o", "a.npz").status == 0
    assert arrays(Path("a.npz"))["x"].shape == (50, 2)
    assert (np.asarray(Image.open("a.png")) != 255).any()
    for film, name in (("strip", "b.png"), ("gif", "b.gif")):
        assert undiffuse_("sample", points, "-n", 50, "--trajectory", film, "-o", name).status == 0
        with Image.open(name) as picture:
            picture.load()


def test_points_are_no_pictures_of_their_own(undiffuse_: Undiffuse, points: Path):
    done = undiffuse_("sample", points, "-n", 5, "--format", "png", "-o", "folder")
    assert (done.status, Path("folder").exists()) == (2, False)
    assert "points are no pictures of their own" in done.err


def test_a_setting_without_a_value_is_refused():
    from undiffuse.cli.options import read

    with pytest.raises(Refused, match="cannot read the setting 'eta'"):
        read({"settings": ["eta"]})


def drawn_by(shape: tuple[int, ...], dtype: str, seed: int = 0, **more: Any) -> Any:
    """Samples that are noise of this shape."""
    from undiffuse.codecs.identity import Identity
    from undiffuse.sampling.samples import Samples

    random = np.random.default_rng(seed)
    low, high = {"uint8": (0, 256), "uint16": (0, 65536), "int16": (-32768, 32768)}.get(dtype, (0, 0))
    x = random.integers(low, high, shape).astype(dtype) if high else random.normal(size=shape).astype(dtype)
    of: Any = SimpleNamespace(codec=Identity(), classes=(), shape=shape[1:], data_shape=shape[1:], facts={})
    return Samples.made(torch.from_numpy(x), of, frames=np.stack([x, x]), **more)


@pytest.mark.parametrize(
    ("shape", "dtype", "ending"),
    [
        *[((3, 1, 6, 5), "uint16", ".png"), ((3, 1, 6, 5), "int16", ".tif")],
        *[((3, 1, 6, 5), "float32", ".tif"), ((3, 4, 6, 5), "uint8", ".png")],
    ],
)
def test_image_files_lose_nothing(tmp_path: Path, shape: tuple[int, ...], dtype: str, ending: str):
    from undiffuse.data.sources.folder import Folder
    from undiffuse.sampling.file_formats import FORMS, Form

    drawn = drawn_by(shape, dtype)
    FORMS[Form.PNG].fits(shape[1:], dtype)
    FORMS[Form.PNG].write(drawn, tmp_path / "images")
    assert [path.suffix for path in sorted((tmp_path / "images").iterdir())] == [ending] * 3
    back = Folder(str(tmp_path / "images")).load().x
    assert back.dtype == drawn.x.dtype
    np.testing.assert_array_equal(back, drawn.x)


@pytest.mark.parametrize(
    ("form", "shape", "dtype", "message"),
    [
        ("png", (3, 8, 8), "uint16", "no image files of 3 channels of uint16; ask for --format npz"),
        ("png", (2, 8, 8), "uint8", "no image files of 2 channels of uint8"),
        ("png", (3, 8, 8), "float32", "no image files of 3 channels of float32"),
        ("png", (2, 8), "float32", "sequences are no pictures of their own"),
        ("png", (1, 4, 8, 8), "float32", "volumes and videos are no pictures of their own"),
        ("csv", (1, 8, 8), "uint8", r"samples of shape \(1, 8, 8\) are no lines of a table"),
    ],
)
def test_what_a_form_cannot_hold_is_refused(form: str, shape: tuple[int, ...], dtype: str, message: str):
    from undiffuse.sampling.file_formats import FORMS, Form

    with pytest.raises(Refused, match=message):
        FORMS[Form(form)].fits(shape, dtype)


@pytest.mark.each("shape", [(4, 1), (4, 5), (4, 2, 16), (4, 3, 8, 8), (4, 1, 4, 8, 8)])
@pytest.mark.each("name", ["grid", "npz", "strip", "gif"])
def test_every_shape_has_a_picture_a_film_and_arrays(tmp_path: Path, shape: tuple[int, ...], name: str):
    from undiffuse.sampling.file_formats import FILMS, FORMS

    writer = {**FORMS, **FILMS}[name]  # type: ignore[dict-item]
    target = tmp_path / writer.name
    drawn = drawn_by(shape, "float32")
    writer.write(drawn, target)
    if name == "npz":
        found = arrays(target)
        want = drawn.x.transpose(0, 2, 3, 1) if len(shape) == 4 else drawn.x
        np.testing.assert_array_equal(found["images" if len(shape) == 4 else "x"], want)
    else:
        with Image.open(target) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 2


def test_a_table_comes_back_as_a_table_with_its_names(undiffuse_: Undiffuse):
    numbers = np.random.default_rng(0).normal(size=(60, 2)) * [1, 100]
    rows = "".join(f"{a},{b},{'yes' if i % 2 else 'no'}\n" for i, (a, b) in enumerate(numbers.tolist()))
    Path("set.csv").write_text("small,large,good\n" + rows)
    settings = ["data.label=good", "train.steps=3", "train.batch=8"]
    assert undiffuse_("train", "set.csv", "--set", *settings).status == 0
    done = undiffuse_("sample", "runs/set", "-n", 6)
    assert done.err.startswith("runs/set/samples.csv: 6 samples")
    lines = Path("runs/set/samples.csv").read_text().splitlines()
    assert lines[0] == "small,large,good"
    assert [line.split(",")[2] for line in lines[1:]] == ["no", "yes"] * 3
    undiffuse_("sample", "runs/set", "-n", 6, "-o", "a.npz")
    exact = np.array([line.split(",")[:2] for line in lines[1:]], np.float64)  # what the data are, with 17 digits
    np.testing.assert_array_equal(exact, arrays(Path("a.npz"))["x"])

    from undiffuse.data.sources.table import TableData

    assert TableData("runs/set/samples.csv", label="good").load().columns == ("small", "large")
    assert undiffuse_("sample", "runs/set", "-n", 6, "-o", "a.png").status == 0


def test_points_without_names_may_become_a_table_too(undiffuse_: Undiffuse, points: Path):
    assert undiffuse_("sample", points, "-n", 3, "-o", "a.csv").status == 0
    lines = Path("a.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("x0,x1", 4)


def test_samples_of_some_indices_are_those_samples_again(undiffuse_: Undiffuse, digits: Path):
    """With their classes, whichever others are drawn beside them."""
    assert undiffuse_("sample", digits, "-n", 14, "--seed", 3, "--precision", "float32", "-o", "all.npz").status == 0
    for words, which in (("4", [4]), ("13,0, 7-9", [13, 0, 7, 8, 9])):
        done = undiffuse_("sample", digits, "--indices", words, "--seed", 3, "--precision", "float32", "-o", "some.npz")
        assert f"{len(which)} sample" in done.out + done.err
        with np.load("all.npz") as every, np.load("some.npz") as some:
            assert np.array_equal(some["labels"], every["labels"][which])
            assert np.abs(some["images"].astype(int) - every["images"][which]).max() <= 1  # the batch's rounding
    done = undiffuse_("sample", digits, "--indices", "2", "--trajectory", "strip", "-o", "way.png")
    assert done.status == 0, done.err


@pytest.mark.parametrize("words", ["", "x", "-1", "3-", "5-3", "1.5", "0-99999999", "9" * 30, "3,,4"])
def test_indices_that_are_none_are_refused(undiffuse_: Undiffuse, digits: Path, words: str):
    done = undiffuse_("sample", digits, f"--indices={words}")
    assert done.status == 2
    assert "--indices are numbers from 0 on and ranges of them, such as 3,7,10-12" in done.err


def test_another_count_than_of_indices_is_refused(undiffuse_: Undiffuse, digits: Path):
    assert "those are 3; leave -n out" in undiffuse_("sample", digits, "--indices", "3-5", "-n", 2).err
    assert undiffuse_("sample", digits, "--indices", "3-5", "-n", 3, "-o", "a.png").status == 0


def test_a_place_that_cannot_be_written_is_refused_before_the_run_is_looked_at(undiffuse_: Undiffuse, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for out in ("file/a.png", "file/b.npz", "file/c.csv"):
        done = undiffuse_("sample", "nowhere", "-o", out)
        assert (done.status, "cannot write" in done.err) == (2, True)
    assert "there is no run at nowhere" in undiffuse_("sample", "nowhere", "-o", "a.png").err
