"""`undiffuse edit`: pictures in, pictures out, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(undiffuse_: Any) -> Path:
    """Pictures of the digits' size in the empty folder."""
    ramp = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)
    Image.fromarray(ramp).save("a.png")
    Image.fromarray(ramp.T.copy()).save("b.png")
    Image.fromarray(np.where(np.arange(64).reshape(8, 8) < 32, 0, 255).astype(np.uint8)).save("mask.png")
    Image.fromarray(ramp[::2, ::2]).save("small.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save("tall.png")
    return Path()


def test_a_masked_picture_is_filled_and_one_answer_is_one_picture(undiffuse_: Any, digits: Path, pictures: Path):
    done = undiffuse_("edit", digits, "--image", "a.png", "--mask", "mask.png", "--steps", 2, "-o", "out.png")
    assert done.status == 0, done.err
    assert "1 of 1x8x8, painted by mmps, seed 0" in done.err
    assert done.out == ""
    found, before = np.asarray(Image.open("out.png")), np.asarray(Image.open("a.png"))
    k = found.shape[0] // 8
    assert found.shape == (8 * k, 8 * k)
    assert k >= 8  # large enough to be seen, by a whole factor
    assert np.array_equal(found[::k, ::k][:4], before[:4])


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (("--image", "a.png", "--strength", "0.5", "--label", "3"), (2, 1, 8, 8)),
        (("--image", "small.png", "--measurement", "superresolve:2", "--noise", "5"), (2, 1, 8, 8)),
        (("--image", "a.png", "--measurement", "blur:1", "--method", "pigdm"), (2, 1, 8, 8)),
        (("--image", "a.png", "--measurement", "grey"), (2, 1, 8, 8)),
        (("--image", "a.png", "--denoise", "20"), (2, 1, 8, 8)),
        (("--image", "a.png", "--size", "8x12"), (2, 1, 8, 12)),
    ],
)
def test_every_task_writes_its_answers(undiffuse_: Any, digits: Path, pictures: Path, words: Any, shape: Any):
    done = undiffuse_("edit", digits, *words, "--steps", 2, "-n", 2, "-o", "out.npz")
    assert done.status == 0, done.err
    assert np.load("out.npz")["x"].shape == shape


def test_a_way_is_animated_and_says_how_exact_its_ends_are(undiffuse_: Any, digits: Path, pictures: Path):
    done = undiffuse_("edit", digits, "--between", "a.png", "b.png", "--length", 3, "--steps", 4, "-o", "way.gif")
    assert done.status == 0, done.err
    assert "come back from their codes with an error of" in done.err
    with Image.open("way.gif") as way:
        assert getattr(way, "n_frames", 1) == 3


def test_an_answer_as_it_is_can_be_edited_again(undiffuse_: Any, digits: Path, pictures: Path):
    words = ["--strength", "0.5", "--steps", 2]
    assert undiffuse_("edit", digits, "--image", "a.png", *words, "-o", "b.npy").status == 0
    assert undiffuse_("edit", digits, "--image", "b.npy", *words, "-o", "c.webp").status == 0
    with Image.open("c.webp") as picture:
        assert picture.format == "WEBP"
    assert undiffuse_("edit", digits, "--image", "a.png", *words, "-o", "folder/").status == 0
    assert Path("folder/edited.png").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "ask for one of --mask, --strength"),
        (("--image", "a.png", "--strength", "0.5", "--mask", "mask.png"), "this asks for 2: --mask, --strength"),
        (("--between", "a.png"), "--between takes 2 values, --between A B, and is given 1"),
        (("--between", "a.png", "--steps", "2"), "--between takes 2 values, --between A B, and is given 1"),
        (("--between", "a.png", "b.png", "--frames", "3"), "this asks for 2: --between, --frames"),
        (("--image", "a.png", "--strength", "0.5", "--method", "dps"), "--method is of --mask and --measurement and"),
        (("--image", "a.png", "--mask", "mask.png", "--noise", "3"), "--noise is of --measurement, and this asks for"),
        (("--strength", "0.5"), "--strength needs --image"),
        (("--image", "a.png", "--between", "a.png", "b.png"), "names its two pictures itself"),
        (("--image", "none.png", "--strength", "0.5"), "cannot read none.png"),
        (("--image", "tall.png", "--strength", "0.5"), "tall.png has the shape (1, 9, 8), and (1, 8, 8) is needed"),
        (("--image", "a.png", "--mask", "tall.png"), "the mask tall.png has the size (9, 8)"),
        (("--image", "a.png", "--measurement", "superresolve:2"), "and (1, 4, 4) is needed"),
        (("--image", "a.png", "--measurement", "sharpen"), "blur, grey, superresolve"),
        (("--image", "a.png", "--measurement", "blur"), "such as blur:1.5"),
        (("--image", "a.png", "--measurement", "grey:2"), "grey takes no number"),
        (("--image", "a.png", "--denoise", "much"), "--denoise takes a deviation"),
        (("--image", "a.png", "--size", "big"), "--size takes a height and a width"),
        (("--image", "a.png", "--strength", "2"), "strength lies in (0, 1]"),
        (
            ("--image", "a.png", "--strength", "0.5", "-o", "out.tif"),
            "asked for is a .png or .jpg or .jpeg or .webp",
        ),
        (
            ("--image", "a.png", "--mask", "mask.png", "--method", "magic"),
            "pigdm, repaint, replace",
        ),
        (("--between", "a.png", "b.png", "--sampler", "heun"), "leave --sampler out"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(undiffuse_: Any, digits: Path, pictures: Path, words: Any, says: str):
    done = undiffuse_("edit", digits, *words)
    assert done.status == 2
    assert says in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_files_that_are_no_pictures_are_refused(undiffuse_: Any, digits: Path, pictures: Path):
    Path("text.png").write_text("no picture")
    assert "is no picture" in undiffuse_("edit", digits, "--image", "text.png", "--strength", "0.5").err
    whole = Path("a.png").read_bytes()
    Path("half.png").write_bytes(whole[: len(whole) // 2])
    assert "half.png" in undiffuse_("edit", digits, "--image", "half.png", "--strength", "0.5").err
    np.save("wrong.npy", np.zeros((3, 3), np.float32))
    assert "has the shape (1, 3, 3)" in undiffuse_("edit", digits, "--image", "wrong.npy", "--strength", "0.5").err
