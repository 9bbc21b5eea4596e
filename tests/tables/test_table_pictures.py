"""Pictures of tables: a bar a category under its name, a bin a whole number, forty of what is in between."""

import numpy as np
import pytest

from undiffuse import pictures
from undiffuse.pictures import clouds

ROWS = np.array([[0.0, 3, 0.25], [1, 5, 0.5], [1, 9, 7.75], [2, 4, 1.5]], np.float32)
WORDS = (("a", "b", "c", "unseen"), (), ())


def test_bins_are_those_of_what_a_column_holds():
    bins = clouds._bins
    assert bins([ROWS[:, 0]], 4) == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert bins([ROWS[:, 1], ROWS[:2, 1]], 0) == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]
    fine = bins([ROWS[:, 2]], 0)
    assert len(fine) == 41
    assert fine[0] == pytest.approx(0.25, abs=0.01)
    assert len(bins([1000 * ROWS[:, 1]], 0)) == 41
    assert bins([np.full(3, 2.0)], 0) == [1.5, 2.5]
    assert bins([np.full(3, 0.5)], 0)[-1] == pytest.approx(1.5)


@pytest.mark.parametrize("beside", [None, ROWS[:2]])
def test_categories_change_the_picture(beside: np.ndarray | None):
    plain = pictures.overview(ROWS, beside=beside, names=("letter", "count", "size"))
    named = pictures.overview(ROWS, beside=beside, names=("letter", "count", "size"), categories=WORDS)
    assert named.size == plain.size
    assert named.tobytes() != plain.tobytes()
    assert pictures.overview(ROWS, beside=beside, categories=((), (), ())).size == plain.size
