"""One picture as training reads it: upright, on white, in the wanted depth, a page or all of them."""

import io
import struct
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data.images.decode import Target, read
from undiffuse.storage.image_file import ENDINGS, ImageHeader, Limits, Pages, items, kind

RANDOM = np.random.default_rng(0)
TURNS = {  # EXIF's tag -> how what is stored is brought upright
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x.transpose(1, 0, 2), 2),
    8: np.rot90,
}


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **how)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def tiff(array: np.ndarray, sample: int) -> bytes:
    """A TIFF of one grey page, which Pillow cannot write with a sign. sample: 1 unsigned, 2 signed."""
    height, width = array.shape
    order = "<" if array.dtype.newbyteorder("=").str == array.dtype.newbyteorder("<").str else ">"
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    tags = [(256, width), (257, height), (258, array.itemsize * 8), (259, 1), (262, 1)]
    tags += [(273, 8), (277, 1), (278, height), (279, len(data)), (339, sample)]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + directory + bytes(4)


@pytest.mark.each("form", ["TIFF", "PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.each("turn", TURNS)
def test_header_and_pixels_agree_on_what_is_up(form: str, turn: int):
    stored = np.zeros((24, 16, 3), np.uint8)
    stored[:12, :8] = 255
    exif = Image.Exif()
    exif[274] = turn
    content = encoded(stored, form, exif=exif)
    upright = TURNS[turn](stored).transpose(2, 0, 1)
    found = kind(content)
    assert (found.height, found.width) == upright.shape[1:]
    far = np.abs(read(content, Target(3)).astype(int) - upright)
    assert np.median(far) <= 2
    assert far.mean() < 12  # lossy forms blur the edge


@pytest.mark.parametrize("form", ["PPM", "BMP", "TGA", "JPEG2000", "AVIF", "QOI", "WEBP", "PCX", "ICO", "GIF"])
def test_what_pillow_reads_is_read(form: str):
    array = np.full((16, 16, 3), (250, 130, 10), np.uint8)
    content = encoded(array, form)
    assert kind(content) == ImageHeader(16, 16, 3, "uint8")
    assert np.abs(read(content, Target(3)).astype(int) - array.transpose(2, 0, 1)).max() <= 4
    assert any(ending in ENDINGS for ending, name in Image.registered_extensions().items() if name == form)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_unsigned_grey_of_16_bit_stays_or_is_scaled(form: str):
    deep = np.array([[0, 100, 4095], [30_000, 40_000, 65_535]], np.uint16)
    content = encoded(deep, form)
    assert kind(content) == ImageHeader(3, 2, 1, "uint16")
    np.testing.assert_array_equal(read(content, Target(1, "uint16"))[0], deep)
    np.testing.assert_array_equal(read(content, Target(3))[1], np.round(deep / 257))
    within = read(content, Target(1, span=(100, 4095)))[0]
    assert within.tolist() == [[0, 0, 255], [255, 255, 255]]


def test_signed_grey_of_16_bit_keeps_its_sign():
    signed = np.array([[-32768, -1000, -1], [0, 1, 32767]], np.int16)
    content = tiff(signed, 2)
    assert kind(content) == ImageHeader(3, 2, 1, "int16")
    np.testing.assert_array_equal(read(content, Target(1, "int16"))[0], signed)
    assert read(content, Target(3))[0].tolist() == [[0, 124, 127], [128, 128, 255]]


def test_other_depths_are_refused():
    with pytest.raises(Refused, match="pixels of 32-bit integers"):
        kind(tiff(np.zeros((2, 2), np.int32), 2))
    with pytest.raises(Refused, match="its pixels are uint8, and uint16 is wanted"):
        read(encoded(np.zeros((2, 2), np.uint8)), Target(1, "uint16"))
    with pytest.raises(Refused, match="its pixels are float32, and uint8 is wanted"):
        read(encoded(np.zeros((2, 2), np.float32), "TIFF"), Target(1))
    with pytest.raises(Refused, match="3 x 2 pixels, more than most_pixels = 5"):
        read(encoded(np.zeros((2, 3), np.uint8)), Target(1), Limits(5))


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP", "PNG"])
def test_pages_are_the_first_one_or_items_or_frames(form: str):
    frames = [np.full((4, 5), level, np.uint8) for level in (0, 90, 250)]
    images = [Image.fromarray(frame) for frame in frames]
    content = encoded(
        images[0], form, save_all=True, append_images=images[1:], **({"lossless": True} if form == "WEBP" else {})
    )
    assert kind(content).pages == 3
    for pages, shape in zip(get_args(Pages), ((1, 1, 4, 5), (3, 1, 4, 5), (1, 1, 3, 4, 5)), strict=True):
        found = items(content, Target(1, pages=pages))
        assert found.shape == shape
        np.testing.assert_array_equal(found.reshape(-1, 4, 5), frames[: len(found.reshape(-1, 4, 5))])


def test_pages_of_different_sizes_are_refused():
    images = [Image.fromarray(np.zeros((4, width), np.uint8)) for width in (4, 5)]
    content = encoded(images[0], "TIFF", save_all=True, append_images=images[1:])
    with pytest.raises(Refused, match=r"its pages have different sizes; give --set data\.size=N"):
        items(content, Target(1, pages="items"))
