"""Resizing is antialiased, keeps dtypes and ranges, and its frames are exact."""

from typing import Any

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data.images.resize import Resize

RANDOM = np.random.default_rng(0)
FILTERS = ["bicubic", "lanczos", "bilinear", "box", "hamming", "nearest"]


@pytest.mark.each("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.each("channels", [1, 2, 3, 4, 7])
@pytest.mark.each("by", FILTERS)
def test_what_is_even_stays_what_it_is(by: Any, channels: int, dtype: type):
    image = np.full((channels, 12, 20), 200, dtype)
    for fit in ("crop", "stretch"):
        resized = Resize((5, 7), fit, by).apply(image)
        assert resized.dtype == dtype
        np.testing.assert_array_equal(resized, np.full((channels, 5, 7), 200, dtype))


@pytest.mark.each("by", FILTERS)
def test_only_nearest_lets_a_fine_pattern_through(by: Any):
    board = np.indices((64, 64)).sum(0)[None] % 2 * np.float32(1)
    small = Resize(8, filter=by).apply(board)
    assert (np.abs(small - 0.5).max() < 0.05) == (by != "nearest")


def test_a_box_is_the_mean_in_every_dtype():
    levels = RANDOM.integers(0, 256, (3, 8, 8))
    mean = levels.reshape(3, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(Resize(4, filter="box").apply(levels.astype(np.float32)), mean, atol=1e-4)
    for dtype, most in ((np.uint8, 1), (np.uint16, 0.5)):  # Pillow rounds bytes once along each axis
        assert np.abs(Resize(4, filter="box").apply(levels.astype(dtype)) - mean).max() <= most + 1e-4
    edge = np.array([[[0] * 8 + [65535] * 8] * 16], np.uint16)
    sharp = Resize(32, filter="lanczos").apply(edge)[0, 16]  # overshoots on both sides: clipped, not wrapped
    assert (sharp[:8].max(), sharp[-8:].min()) == (0, 65535)


def test_crop_cuts_the_centre_first_and_without_a_size_that_is_all():
    image = np.zeros((1, 10, 14), np.uint8)
    image[:, 3:7, 5:9] = 255
    assert (Resize(crop=4).apply(image) == 255).all()
    assert (Resize(2, crop=4).apply(image) == 255).all()
    assert Resize(crop=4).shape(10, 14) == (4, 4)
    np.testing.assert_array_equal(Resize((10, 14)).apply(image), image)


def test_pad_keeps_all_of_the_image_and_its_shape():
    image = np.full((3, 8, 16), 9, np.uint8)
    padded = Resize(8, "pad").apply(image)
    assert (padded[:, 2:6] == 9).all()
    assert (padded[:, :2] == 0).all()
    assert (padded[:, 6:] == 0).all()


def test_what_is_clear_does_not_bleed_into_what_is_seen():
    image = np.zeros((4, 8, 8), np.uint8)
    image[0] = 255  # red everywhere
    image[1, :, ::2] = 255  # yellow where it is clear
    image[3, :, 1::2] = 255
    assert Resize(4, filter="box").apply(image)[1].max() == 0


@pytest.mark.each(
    ("fields", "message"),
    [({"size": 0}, "at least 1 pixel"), ({"size": (4, 0)}, "at least 1 pixel"), ({"crop": -1}, "crop = -1")],
)
def test_impossible_sizes_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        Resize(**fields)
    with pytest.raises(Refused, match="crop = 9 is more than an image of 7x12 has"):
        Resize(crop=9).shape(12, 7)


def test_a_resize_says_what_it_does():
    assert Resize().describe() == ""
    assert Resize(crop=9).describe() == "centre 9x9 cut out"
    assert Resize((4, 6), "pad", "box", 9).describe() == "centre 9x9 cut out, box to 6x4, padded with zeros"
