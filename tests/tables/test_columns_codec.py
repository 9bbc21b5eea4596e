"""The codec of rows: back is exact, numbers become normal, and what is rare, whole or repeated stays what it is."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.codecs.columns import ColumnsCodec
from undiffuse.core import registry
from undiffuse.core.errors import Refused

RANDOM = np.random.default_rng(0)
COUNT = 3000
GAIN = np.where(RANDOM.random(COUNT) < 0.9, 0, np.exp(RANDOM.normal(8, 1, COUNT)).round())
ROWS = np.stack(
    [
        RANDOM.integers(17, 90, COUNT),
        RANDOM.integers(0, 4, COUNT),
        GAIN,
        RANDOM.normal(size=COUNT).round(2),
        RANDOM.gamma(2.0, 1e-3, COUNT),
        RANDOM.integers(0, 2, COUNT),
    ],
    axis=1,
).astype(np.float32)
CATEGORIES = ((), tuple("abcd"), (), (), (), ("no", "yes"))
NUMBERS = [0, 2, 3, 4]


def fitted(**fields: Any) -> ColumnsCodec:
    return ColumnsCodec(CATEGORIES, **fields).fit(ROWS)


@pytest.mark.parametrize("normalise", ["quantile", "whiten"])
def test_decoding_undoes_encoding(normalise: Any):
    codec = fitted(normalise=normalise)
    assert codec.decimals == (0, 0, 2, -1)
    assert codec.vocabularies == (4, 2)
    z = codec.encode(ROWS)
    assert z.dtype == torch.float32
    back = codec.decode(z).numpy()
    np.testing.assert_array_equal(back[:, [0, 1, 2, 3, 5]], ROWS[:, [0, 1, 2, 3, 5]])
    np.testing.assert_allclose(back[:, 4], ROWS[:, 4], rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(z[:, 4:].numpy(), ROWS[:, [1, 5]])


def test_quantiles_make_numbers_normal_and_keep_their_order():
    z = fitted().encode(ROWS)[:, :4].double().numpy()
    for column, mine in zip(NUMBERS, z.T, strict=True):
        order = np.argsort(ROWS[:, column], kind="stable")
        assert (np.diff(mine[order]) >= 0).all()
        assert abs(np.median(mine)) < 0.2 or column == 2
    shares = np.sort(z[:, 3])
    normal = torch.special.ndtri((torch.arange(COUNT, dtype=torch.float64) + 0.5) / COUNT).numpy()
    np.testing.assert_allclose(shares[60:-60], normal[60:-60], atol=0.05)  # beyond lie straight lines to the ends


def test_a_number_that_many_rows_have_is_a_whole_interval():
    codec = fitted()
    zero = codec.encode(ROWS[GAIN == 0][:1])
    around = zero.repeat(50, 1)
    around[:, 1] = torch.linspace(-3, 1.2, 50)
    assert (codec.decode(around)[:, 2] == 0).all()
    around[:, 1] = 1.5
    assert (codec.decode(around)[:, 2] > 0).all()


def test_whatever_is_decoded_looks_like_data():
    codec = fitted()
    z = torch.cat([4 * torch.randn(500, 4), 5 * torch.randn(500, 2)], dim=1)
    x = codec.decode(z).numpy()
    assert set(np.unique(x[:, 1])) <= {0, 1, 2, 3}
    assert set(np.unique(x[:, 5])) <= {0, 1}
    assert (x[:, 0] == x[:, 0].round()).all()
    low, high = ROWS[:, NUMBERS].min(0), ROWS[:, NUMBERS].max(0)
    slack = np.array([0, 0, 0, 0.011]) * (high - low)  # many places: the range is rounded outwards
    assert (x[:, NUMBERS].min(0) >= low - slack).all()
    assert (x[:, NUMBERS].max(0) <= high + slack).all()


def test_all_that_was_fitted_is_in_the_fields():
    codec = fitted()
    again = registry.build("codecs", {"name": "columns", **json.loads(json.dumps(asdict(codec)))})
    assert again == codec
    assert torch.equal(again.encode(ROWS), codec.encode(ROWS))
    assert codec.frequencies[1] == pytest.approx(((ROWS[:, 5] == 0).mean(), (ROWS[:, 5] == 1).mean()))
    assert fitted().fit(ROWS[:, ::1]) == codec


def test_columns_of_numbers_alone_and_of_words_alone_are_rows_too():
    for kinds, x in ((((), ()), ROWS[:, [0, 3]]), ((CATEGORIES[1], CATEGORIES[5]), ROWS[:, [1, 5]])):
        codec = ColumnsCodec(kinds).fit(x)
        np.testing.assert_array_equal(codec.decode(codec.encode(x)).numpy(), x)
    assert ColumnsCodec().fit(ROWS[:, [0, 3]]).categories == ((), ())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: ColumnsCodec(CATEGORIES).fit(ROWS[:, :3]), "is for rows of 6 columns, not 3"),
        (lambda: ColumnsCodec(CATEGORIES).fit(ROWS[:, :, None]), r"is for rows of a table, and the data have shape"),
        (lambda: fitted().encode(ROWS[:, :5]), "is for rows of 6 columns, not 5"),
        (lambda: fitted().encode(ROWS + 3), r"categories must be numbers below \(4, 2\), column by column"),
        (lambda: ColumnsCodec(CATEGORIES).encode(ROWS), "columns is not fitted"),
        (lambda: ColumnsCodec(CATEGORIES, "whiten").encode(ROWS), "columns is not fitted"),
        (lambda: replace(fitted(), std=(1.0, 0.0, 1.0, 1.0)), "a mean, a std above 0, decimals and quantiles"),
        (lambda: replace(fitted(), quantiles=((1.0, 0.0),) * 4, scores=((0.0, 1.0),) * 4), "quantiles and scores that"),
        (lambda: replace(fitted(), quantiles=((1.0,),) * 4), "equally many quantiles and scores of each column, 2 or"),
    ],
)
def test_what_makes_no_sense_is_refused(ask: Any, message: str):
    with pytest.raises(Refused, match=message):
        ask()
