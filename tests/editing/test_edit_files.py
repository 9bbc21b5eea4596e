"""Pictures and masks that are edited: read as training reads them, whatever made them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.editing import files

RAMP = (np.arange(24).reshape(4, 6) * 10).astype(np.uint8)
SHAPE = (1, 4, 6)
HOLE = np.zeros((4, 6), bool)
HOLE[1:3, 2:5] = True
ORIENTATION = 0x0112


def saved(folder: Path, image: Any, name: str = "a.png", mode: str | None = None, **how: Any) -> Path:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image, mode)
    picture.save(folder / name, **how)
    return folder / name


def test_a_turned_picture_is_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # a quarter turn to the right makes it upright
    path = saved(tmp_path, np.rot90(RAMP).copy(), "a.png", exif=exif)
    assert np.array_equal(files.item(path, SHAPE, "uint8")[0], RAMP)


def test_what_is_clear_lies_on_white(tmp_path: Path):
    clear = np.stack([RAMP, RAMP, RAMP, np.where(HOLE, 0, 255).astype(np.uint8)], -1)
    path = saved(tmp_path, clear)
    assert np.array_equal(files.item(path, SHAPE, "uint8")[0], np.where(HOLE, 255, RAMP))
    assert np.array_equal(files.item(path, (4, 4, 6), "uint8"), clear.transpose(2, 0, 1))


def test_sixteen_bit_are_scaled_for_eight_and_kept_for_sixteen(tmp_path: Path):
    deep = RAMP.astype(np.uint16) * 257
    path = saved(tmp_path, deep)
    assert np.array_equal(files.item(path, SHAPE, "uint8")[0], RAMP)
    assert np.array_equal(files.item(path, SHAPE, "uint16")[0], deep)
    with pytest.raises(Refused, match="cannot be edited: its pixels are uint8, and uint16 is wanted"):
        files.item(saved(tmp_path, RAMP, "b.png"), SHAPE, "uint16")


def as_palette(colour: tuple[int, int, int]) -> Image.Image:
    """Index 1 in this colour, on black."""
    image = Image.fromarray(HOLE.astype(np.uint8)).convert("L").copy()
    image.putdata(HOLE.astype(np.uint8).reshape(-1).tolist())
    image = image.convert("P") if image.mode != "L" else Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([0, 0, 0, *colour])
    return image


def clear(colour: int, alpha: np.ndarray) -> np.ndarray:
    """One grey level, more and less clear."""
    return np.stack([np.full((4, 6), colour, np.uint8), alpha.astype(np.uint8)], -1)


MASKS: dict[str, Any] = {
    "white on black": np.where(HOLE, 255, 0).astype(np.uint8),
    "grey levels": np.where(HOLE, 200, 90).astype(np.uint8),
    "0 and 1": HOLE.astype(np.uint8),
    "one bit": Image.fromarray(HOLE),
    "16 bit": np.where(HOLE, 65535, 0).astype(np.uint16),
    "16 bit, 0 and 1": HOLE.astype(np.uint16),
    "colour": np.where(HOLE[..., None], (255, 0, 0), (0, 0, 0)).astype(np.uint8),
    "a palette in white": as_palette((255, 255, 255)),
    "a palette in dark red": as_palette((128, 0, 0)),
    "a palette in dark blue": as_palette((0, 0, 64)),
    "white strokes on nothing": clear(255, HOLE * 255),
    "black strokes on nothing": clear(0, HOLE * 255),
    "soft strokes": clear(255, np.where(HOLE, 180, 20)),
}


@pytest.mark.each("name", MASKS)
def test_a_mask_is_a_mask_however_it_was_made(tmp_path: Path, name: str):
    known = files.mask(saved(tmp_path, MASKS[name]), SHAPE)
    assert known.dtype == np.float32
    assert np.array_equal(known, 1 - HOLE[None].astype(np.float32))


@pytest.mark.parametrize("made", [HOLE, HOLE.astype(np.int64), HOLE * 1.0, HOLE * 255, HOLE[None] * 0.9])
def test_a_mask_of_numbers(tmp_path: Path, made: np.ndarray):
    np.save(tmp_path / "m.npy", made)
    assert np.array_equal(files.mask(tmp_path / "m.npy", SHAPE), 1 - HOLE[None].astype(np.float32))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (np.zeros((4, 6), np.uint8), "is empty: nothing in it is white.* its levels go from 0 to 0 of 255"),
        ((RAMP // 9).astype(np.uint8), "is empty: .* its levels go from 0 to 25 of 255"),
        (clear(255, np.zeros((4, 6))), "is empty"),
        (np.zeros((6, 4), np.uint8), r"has the size \(6, 4\), and the model's items have \(4, 6\)"),
        (np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8)[:, [*range(6)]], None),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, made: np.ndarray, says: str | None):
    if says is None:  # a photograph has more colours than so few pixels
        made, shape = np.random.default_rng(0).integers(0, 255, (9, 9, 3)).astype(np.uint8), (3, 9, 9)
        says = "is a picture of many colours"
    else:
        shape = SHAPE
    with pytest.raises(Refused, match=says):
        files.mask(saved(tmp_path, made), shape)


def test_a_mask_of_numbers_that_are_none_is_refused(tmp_path: Path):
    for made, says in ((HOLE * np.nan, "not finite"), (HOLE[:, :4], "has the size"), (HOLE * 0, "is empty")):
        np.save(tmp_path / "m.npy", made)
        with pytest.raises(Refused, match=says):
            files.mask(tmp_path / "m.npy", SHAPE)
