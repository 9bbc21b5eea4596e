"""MappedRows of a mapped array are read as the array itself would be, and never before they are asked for."""

import numpy as np
import pytest

from undiffuse.data.rows import MappedRows, chunk

X = np.random.default_rng(0).normal(size=(30, 4, 5, 2))
INDICES = np.array([3, 4, 5, 9, 29, 0, 3])


@pytest.mark.parametrize(
    "which", [slice(None), slice(0, 3), slice(2, 6), [1, 5], np.arange(7) % 2 == 0, 4, slice(0, 0)]
)
def test_rows_are_those_of_the_array(which):
    rows = MappedRows(np.moveaxis(X, 3, 1), INDICES, np.float32)
    want = np.moveaxis(X, 3, 1)[INDICES].astype(np.float32)
    got = rows[which]
    np.testing.assert_array_equal(got, want[which])
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert got.flags.writeable
    assert not np.shares_memory(got, X)
    assert (rows.shape, rows.ndim, rows.size, rows.nbytes) == (want.shape, want.ndim, want.size, want.nbytes)


def test_rows_of_rows_are_rows_of_the_array():
    rows = MappedRows(X, INDICES).take(np.array([0, 6, 4]))
    assert rows.array is X
    np.testing.assert_array_equal(np.asarray(rows), X[[3, 3, 29]])
    np.testing.assert_array_equal(np.asarray(rows, np.float16), X[[3, 3, 29]].astype(np.float16))
    assert repr(rows) == "MappedRows(3 of shape (4, 5, 2), float64)"
    with pytest.raises(ValueError, match="cannot become an array without a copy"):
        np.array(rows, copy=False)


def test_a_chunk_keeps_its_budget_and_has_an_item():
    assert chunk(X, 10 * X[0].nbytes) == 10
    assert chunk(X, 1) == 1
