"""Pictures of tables: a bar a category under its name, a bin a whole number, forty of what is in between."""

import numpy as np
import pytest

from undiffuse import pictures
from undiffuse.pictures import clouds, ways

ROWS = np.array([[0.0, 3, 0.25], [1, 5, 0.5], [1, 9, 7.75], [2, 4, 1.5]], np.float32)
WORDS = (("a", "b", "c", "unseen"), (), ())


def test_bins_are_those_of_what_a_column_holds():
    bins = clouds.bins
    assert bins([ROWS[:, 0]], 4) == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert bins([ROWS[:, 1], ROWS[:2, 1]], 0) == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]
    assert bins([ROWS[:, 2]], 0)[0] == pytest.approx(0.25, abs=0.01)
    assert (bins([ROWS[:2, 2]], 0)[0], bins([ROWS[:2, 2]], 0)[-1]) == (0.25, 0.5)  # of a few the least and the greatest
    assert (bins([np.array([1.0, 1e6])], 0)[0], bins([np.array([1.0, 1e6])], 0)[-1] > 1e6) == (0.5, True)
    assert bins([np.full(3, 2.0)], 0) == [1.5, 2.5]
    assert bins([np.full(3, 0.5)], 0)[-1] == pytest.approx(1.5)
    assert bins([np.array([])], 0) == [0.0, 1.0]  # a column of which every cell is missing


@pytest.mark.parametrize(("count", "many"), [(8, 5), (1000, 20), (8000, 40), (10**6, 60)])
def test_more_numbers_make_more_bins_and_whole_ones_are_never_cut(count: int, many: int):
    fine = np.linspace(0, 1, count)
    assert len(clouds.bins([fine], 0)) == many + 1  # 2 cbrt(n)
    assert len(clouds.bins([fine, fine[: count // 8]], 0)) <= many + 1  # of the fewest
    years = np.round(72 * fine)
    edges = np.array(clouds.bins([years], 0))
    assert set(edges % 1) == {0.5}
    assert len(set(np.diff(edges))) == 1
    assert edges[0] < 0
    assert edges[-1] > 72


def test_the_way_of_a_table_shows_its_noise():
    """Columns of unlike scales that only depend on each other at the end: all panels differ, none is a flat line."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(400, 3)) * [1, 1000, 10]
    end = noise.copy()
    end[:, 1] = 1000 * end[:, 2] / 10 + random.normal(size=400)
    frames = np.stack([noise + (end - noise) * share for share in (0, 0.4, 0.8, 1)]).astype(np.float32)
    assert ways.plane(end) == (1, 2)
    assert ways.plane(end, ((), ("a", "b"), ())) == (0, 2)
    assert ways.plane(end, (("a",), ("a", "b"), ())) == (0, 2)
    assert ways.plane(end, (("a",), ("a",), ("a",))) == (0, 1)
    shown = np.asarray(pictures.points_strip(frames, ("a", "b", "c"), columns=4, paths=0).convert("L")).astype(float)
    panels = np.array_split(shown[40:-40, 40:], 4, axis=1)
    width = min(panel.shape[1] for panel in panels)
    inks = [panel[:, :width] < 200 for panel in panels]
    assert all(np.ptp(np.nonzero(ink)[0]) > 100 for ink in inks)  # high, not flat
    assert (inks[0] ^ inks[-1]).mean() > 0.05
    first, last = (np.ptp([c.size for c in pictures.points_frames(frames[:, :, [i]])], axis=0) for i in (0, 1))
    assert first.tolist() == last.tolist() == [0, 0]  # frames of single numbers, too, are of one size


def test_missing_numbers_are_left_out():
    holes = np.where(np.arange(12).reshape(4, 3) % 2, np.nan, ROWS).astype(np.float32)
    holes[:, 2] = np.nan
    assert pictures.overview(holes, beside=ROWS).size == pictures.overview(ROWS, beside=holes).size


def test_compared_panels_have_equal_axes():
    small, large = ROWS[:, 1:], 10 * ROWS[:, 1:]
    assert clouds.extents_of(small, large) == clouds.extents_of(large, small)
    assert clouds.bins([small[:, 0], large[:, 0]], 0)[-1] > 80
    alone, beside = (np.asarray(pictures.overview(small, like=like)) for like in ([], [large]))
    assert alone.shape == beside.shape
    assert (alone != beside).any()
    grey = np.full((2, 1, 4, 4), 0.5, np.float32)
    assert pictures.shared_span([grey, 4 * grey]) == (0.0, 2.0)
    assert pictures.shared_span([grey.astype(np.uint8)]) == (0.0, 255.0)
    assert pictures.shared_span([(4 * grey).astype(np.uint16), (8 * grey).astype(np.uint16)]) == (2.0, 4.0)


@pytest.mark.parametrize("beside", [None, ROWS[:2]])
def test_categories_change_the_picture(beside: np.ndarray | None):
    plain = pictures.overview(ROWS, beside=beside, names=("letter", "count", "size"))
    named = pictures.overview(ROWS, beside=beside, names=("letter", "count", "size"), categories=WORDS)
    assert named.size == plain.size
    assert named.tobytes() != plain.tobytes()
    assert pictures.overview(ROWS, beside=beside, categories=((), (), ())).size == plain.size
