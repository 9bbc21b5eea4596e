"""Sheets of pictures: large enough to see, about square, with the names and captions of what they show."""

from pathlib import Path

import numpy as np
import pytest

from undiffuse import pictures
from undiffuse.pictures import layout
from undiffuse.pictures.letters import folded, font, shortened

SIDES = [(8, 8), (28, 28), (40, 40), (64, 64), (100, 60), (200, 300)]


def inside(found: layout.Layout, side: tuple[int, int]) -> bool:
    """Whether every picture lies on the sheet, and none on another."""
    seen = np.zeros(found.size[::-1], int)
    for left, top in found.tiles:
        seen[top : top + side[0] * found.scale, left : left + side[1] * found.scale] += 1
    return int(seen.sum()) == len(found.tiles) * side[0] * side[1] * found.scale**2 and int(seen.max()) == 1


@pytest.mark.each("side", SIDES)
@pytest.mark.each("n", [1, 2, 3, 7, 10, 60])
def test_sheets_are_about_square_and_pictures_large_enough(side: tuple[int, int], n: int):
    labels, names = np.arange(n) % 10, [f"class {i}" for i in range(10)]
    captions = [f"a picture of the thing with the number {i}" for i in range(n)]
    found = [layout.plain(n, side), layout.classed(labels.tolist(), names, side), layout.captioned(captions, side)]
    for each in found:
        assert inside(each, side)
        assert len(each.tiles) == n
        assert max(side) * each.scale >= 64
        if n > 3:
            assert 0.5 <= each.size[0] / each.size[1] <= 2.2
    assert [text for _, _, text in found[1].words] == names[:n]


def test_ten_digits_without_a_label_are_no_column():
    images = np.zeros((10, 1, 8, 8), np.uint8)
    sheet = pictures.sheet(images, np.arange(10), "0123456789")
    assert 0.6 < sheet.width / sheet.height < 1.7


def test_one_class_has_its_name_and_one_caption_stands_above():
    images = np.full((4, 1, 8, 8), 128, np.uint8)
    places = pictures.arranged(4, (8, 8), [3] * 4, "0123456789")
    assert [text for _, _, text in places.words] == ["3"]
    headed = pictures.arranged(4, (8, 8), captions=["a red heart"])
    assert [text for _, _, text in headed.words] == ["a red heart"]
    assert min(top for _, top in headed.tiles) > headed.words[0][1]
    plain, words = (np.asarray(pictures.sheet(images, captions=c)) for c in ([], ["a red heart"]))
    assert words.shape[0] > plain.shape[0]
    assert (words[: words.shape[0] - plain.shape[0]] < 128).any()  # there is ink


def test_captions_stand_below_their_pictures():
    captions = [f"number {i} of a few" for i in range(6)]
    found = layout.captioned(captions, (64, 64))
    for (left, top), caption in zip(found.tiles, captions, strict=True):
        below = [text for x, y, text in found.words if x == left and 0 <= y - top - 64 * found.scale < 40]
        assert " ".join(below) == caption


def test_long_words_are_folded_and_shortened_to_their_width():
    text = "an owl that sits on a very long branch in the light of the moon"
    lines = folded(text, 120, 13, 9)
    assert " ".join(lines) == text
    assert all(font(13).getlength(line) <= 120 for line in lines)
    assert folded(text, 120, 13, 2)[-1].endswith("…")
    assert font(13).getlength(shortened("x" * 500, 100, 13)) <= 100
    assert folded("", 100, 13, 2) == []
    assert shortened("zwei\nZeilen", 400, 13) == "zwei Zeilen"


def test_a_strip_names_its_rows_and_its_steps():
    frames = np.random.default_rng(0).integers(0, 256, (30, 2, 3, 28, 28)).astype(np.uint8)
    places = layout.stripped(2, (28, 28), ["noise", "step 5", "step 9"], ["cat", "dog"])
    assert inside(places, (28, 28))
    assert [text for _, _, text in places.words] == ["noise", "step 5", "step 9", "cat", "dog"]
    assert pictures.strip(frames, 3, names=["cat", "dog"]).width > pictures.strip(frames, 3).width


@pytest.mark.each("suffix", pictures.FORMATS)
@pytest.mark.each("channels", [1, 2, 3, 4, 6])
def test_every_number_of_channels_has_every_format(tmp_path: Path, suffix: str, channels: int):
    images = np.random.default_rng(0).integers(0, 256, (3, channels, 9, 7)).astype(np.uint8)
    content = pictures.encoded(pictures.sheet(images, [0, 1, 1], ("a", "b")), suffix)
    assert len(content) > 200
