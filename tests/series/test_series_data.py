"""Series come from files as they stand in them, in even steps, and their last windows are held out."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from undiffuse.conditions.known import KnownCondition
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import MISSING, Dataset
from undiffuse.data.derived_conditions import derived
from undiffuse.data.paths import settings
from undiffuse.data.series_file import Clock, SeriesFile, read, read_each
from undiffuse.data.sources.series import Series
from undiffuse.data.toys.seasonal import Seasonal
from undiffuse.editing import forecast
from undiffuse.editing.forecast import SeriesForecast, table
from undiffuse.recipes.recipe import Recipe


def written(folder: Path, text: str) -> str:
    path = folder / "load.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def hours(folder: Path, count: int = 60) -> str:
    """Two channels by the hour, the fifth line without one of its numbers, and no line for the eighth hour."""
    lines = [
        f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00,{i},{'' if i == 4 else 1000.5 + i}" for i in range(count) if i != 7
    ]
    return written(folder, "when,load,price\n" + "\n".join(lines))


def test_windows_hold_the_numbers_with_lines_where_some_are_missing(tmp_path: Path):
    data = Series(hours(tmp_path), window=16).load()
    assert data.shape == (2, 16)
    assert len(data) == 60 - 16 + 1
    np.testing.assert_allclose(data.x[3, 0], np.arange(3, 19))
    np.testing.assert_allclose(data.x[3, 1], 1000.5 + np.arange(3, 19))
    gone = data.conditions[MISSING]
    assert gone[0].sum() == 3
    assert gone[0, 1, 4]
    assert gone[0, :, 7].all()
    assert data.notes["series"]["names"] == ["load", "price"]


def test_the_last_windows_are_held_out_and_share_no_number_with_the_others(tmp_path: Path):
    learned, held_out = Series(hours(tmp_path, 100), window=16).load().split(0.2)
    assert held_out.x[-1, 0, -1] == 99
    assert learned.x[0, 0, 0] == 0
    assert learned.x[:, 0].max() < held_out.x[:, 0].min()
    with pytest.raises(Refused, match=r"nothing is left to learn from .* data.window=N"):
        Series(hours(tmp_path, 60), window=40).load().split(0.2)


def shops(folder: Path) -> str:
    """Two shops of 60 and 50 hours, the second 20 hours later, a third of 5 hours; lines in any order of the shops."""
    lines = [f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00,{shop},{i + 1000 * k}"
             for i in range(70) for k, (shop, begin, end) in enumerate((("7", 0, 60), ("9", 20, 70), ("new", 3, 8)))
             if begin <= i < end]  # fmt: skip
    return written(folder, "when,shop,load\n" + "\n".join(lines))


def test_windows_of_several_series_do_not_cross_and_the_last_in_time_are_held_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    data = Series(shops(tmp_path), window=8, by="shop").load()
    assert len(data) == 53 + 43
    assert "1 of 3 series are shorter than a window of 8 steps and left out" in caplog.text
    assert bool((np.diff(data.x[:, 0], axis=1) == 1).all())
    begins = data.x[:, 0, 0] % 1000
    assert bool((np.diff(begins) >= 0).all())
    learned, held_out = data.split(0.3)
    assert {int(window[0, 0] // 1000) for window in held_out.x} == {0, 1}
    learned_x, held_out_x = (set(np.asarray(part.x).ravel().tolist()) for part in (learned, held_out))
    assert not learned_x & held_out_x
    assert (data.notes["series"]["count"], data.notes["series"]["steps"]) == (2, 110)
    found = read_each(shops(tmp_path), by="shop")
    assert {word: len(each.values) for word, each in found.items()} == {"7": 60, "9": 50, "new": 5}
    assert found["9"].clock.written(np.array([0])) == ["2024-01-01 20:00"]


def test_a_column_of_words_is_named_with_what_it_may_be(tmp_path: Path):
    with pytest.raises(Refused, match=r"column 'shop' holds words, such as 'a'.* data.drop=shop; .* data.by=shop$"):
        Series(written(tmp_path, "shop,load\na,1\na,2\nb,3\n")).load()
    uneven = "".join(f"{i * step},{shop},{i}\n" for shop, step in (("a", 1), ("b", 2)) for i in range(5))
    with pytest.raises(Refused, match="a has steps of 1 each and b of 2 each: the series of one file have steps alike"):
        read_each(written(tmp_path, "time,shop,load\n" + uneven), by="shop")
    with pytest.raises(Refused, match="by = 'shop': of series = 'lines' each line is a series already"):
        Series("load.csv", series="lines", by="shop")


def test_a_stride_takes_fewer_windows(tmp_path: Path):
    data = Series(hours(tmp_path), window=16, stride=16, columns=("price",)).load()
    assert data.x.shape == (3, 1, 16)
    assert data.overlap == 1


def test_times_are_written_on_as_the_file_writes_them(tmp_path: Path):
    clock = read(hours(tmp_path)).clock
    assert clock.written(np.array([0, 59, 60])) == ["2024-01-01 00:00", "2024-01-03 11:00", "2024-01-03 12:00"]
    months = "month,n\n" + "\n".join(f"{1949 + i // 12}-{i % 12 + 1:02d},{i}" for i in range(30) if i != 5)
    found = read(written(tmp_path, months), time="month")
    assert found.clock.written(np.array([0, 29, 36])) == ["1949-01", "1951-06", "1952-01"]
    assert np.flatnonzero(np.isnan(found.values[:, 0])).tolist() == [5]
    ends = "date,n\n2023-11-30,1\n2023-12-31,2.5\n2024-01-31,3\n2024-02-29,5\n"
    assert read(written(tmp_path, ends)).clock.written(np.array([4])) == ["2024-03-31"]
    plain = read(written(tmp_path, "time,n\n0,1\n0.5,2\n1.5,4\n"))
    assert plain.clock.written(np.array([2, 4])) == ["1", "2"]
    assert len(plain.values) == 4
    assert read(written(tmp_path, "n\n1\n2\n4\n")).clock.written(np.array([3])) == ["3"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,n\n0,1\n2,2\n1,3\n", "times must rise, and item 3"),
        ("time,n\n0,1\n1,2\n2.5,3\n3.5,3\n", "not in even steps of 1"),
        ("time,n\n0,1\n1,2\n2,3\n900,3\n", "too few"),
        ("time,n,m\n0,1,\n1,2,\n2,3,\n", "'m' has no number|'m'"),
        ("time\n1\n2\n3\n", "no column of numbers"),
        ("a,b,n\n2024-01-01,2024-02-01,1\n2024-01-02,2024-02-02,2\n", "say which is the time"),
    ],
)
def test_what_is_no_series_is_refused(tmp_path: Path, text: str, says: str):
    with pytest.raises(Refused, match=says):
        read(written(tmp_path, text))


def test_a_series_a_line(tmp_path: Path):
    text = "kind,0h,1h,2h,3h\n" + "\n".join(
        f"{'ab'[i % 2]},{i},{i + 1},{'' if i == 5 else i + 2},{i + 3.5}" for i in range(12)
    )
    data = Series(written(tmp_path, text), series="lines", label="kind").load()
    assert data.x.shape == (12, 1, 4)
    assert data.classes == ("a", "b")
    np.testing.assert_allclose(data.x[5, 0], [5, 6, 7.25, 8.5])
    assert data.conditions[MISSING][5, 0].tolist() == [False, False, True, False]
    with pytest.raises(Refused, match=r"2\.1% of the numbers are missing"):
        Series(written(tmp_path, text), series="lines", label="kind", missing="refuse").load()


def test_a_file_is_read_as_the_recipe_reads_it(tmp_path: Path):
    path = hours(tmp_path)
    assert settings(path, Recipe.find("series")) == [f'data.path="{path}"']
    assert settings(path, Recipe.find("table"))[0] == 'data.name="table"'


def test_short_series_and_senseless_windows_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match="60 steps, and a window of 96"):
        Series(hours(tmp_path)).load()
    for fields in ('{"window": 1}', '{"stride": -1}', '{"label": "kind"}'):
        with pytest.raises(Refused):
            Series("load.csv", **json.loads(fields))


def hidden(of: str, x: np.ndarray, missing: np.ndarray | None = None) -> np.ndarray:
    conditions = {} if missing is None else {MISSING: missing}
    made = derived(Dataset(x, conditions), {"known": KnownCondition(of=of)}).conditions["known"]
    np.testing.assert_array_equal(made[:, : x.shape[1]], x)
    return made[:, x.shape[1] :]


def test_the_future_points_and_gaps_are_hidden_each_at_its_own_place():
    x = np.random.default_rng(0).normal(size=(60, 2, 20)).astype(np.float32)
    assert (hidden("forecast:5", x) == np.where(np.arange(20) >= 15, 0, 1)).all()
    points = hidden("missing:0.5", x) == 0
    assert 0.15 < points.mean() < 0.35
    assert points.mean((1, 2)).std() > 0.08  # each item has a share of its own
    gaps = hidden("segment:6", x) == 0
    lengths = gaps[:, 0].sum(1)
    assert (gaps[:, 0] == gaps[:, 1]).all()
    assert set(lengths) == {1, 2, 3, 4, 5, 6}
    assert (np.abs(np.diff(gaps[:, 0].astype(int), axis=1)).sum(1) <= 2).all()
    both = hidden("forecast:5, missing:0.5", x)
    ends = (both[:, :, 15:] == 0).all((1, 2)) & (both[:, :, :15] == 1).all((1, 2))
    assert 0.3 < ends.mean() < 0.7
    gone = np.zeros(x.shape, bool)
    gone[:, 0, 3] = True
    assert (hidden("forecast:5", x, gone)[:, 0, 3] == -1).all()


@pytest.mark.parametrize("of", ["forecst:5", "forecast", "forecast:0", "forecast:2.5", "missing:2", "missing:x", " "])
def test_other_ways_to_hide_are_refused(of: str):
    with pytest.raises(Refused, match=r"conditions\.known\.of"):
        KnownCondition(of=of)


def test_a_horizon_as_long_as_the_window_is_refused():
    for of in ("forecast:8", "segment:8"):
        with pytest.raises(Refused, match="items of 8 steps"):
            derived(Dataset(np.zeros((3, 1, 8), np.float32)), {"known": KnownCondition(of=of)})


def test_seasonal_series_have_the_covariance_that_they_say():
    source = Seasonal(count=20_000, length=16, period=4)
    x = np.asarray(source.load().x, np.float64)[:, 0]
    np.testing.assert_allclose(np.cov(x.T), source.covariance(), atol=0.15)
    assert abs(x.mean() - 10) < 0.05
    memory = Seasonal(length=16, amplitude=0.0).covariance()[0]  # r_i = p r_(i-1) + q r_(i-2) + e
    np.testing.assert_allclose(memory[2:], 1.1 * memory[1:-1] - 0.4 * memory[:-2], rtol=1e-12)
    assert memory[0] - 1.1 * memory[1] + 0.4 * memory[2] == pytest.approx(0.25)
    with pytest.raises(Refused, match="stationary"):
        Seasonal(ar=(1.5, -0.4))


@pytest.mark.parametrize(
    ("days", "last"),
    [(("01-30", "02-29", "03-30"), "2024-04-30"), (("02-29", "03-31", "04-30"), "2024-05-31"),
     (("01-15", "02-15", "03-15"), "2024-04-15")],
)  # fmt: skip
def test_months_end_on_the_last_day_that_they_have(tmp_path: Path, days: tuple[str, ...], last: str):
    found = read(written(tmp_path, "date,x\n" + "".join(f"2024-{day},{i}\n" for i, day in enumerate(days))))
    assert found.clock.written(np.arange(4)) == [*(f"2024-{day}" for day in days), last]


def test_a_forecast_in_a_file_has_the_digits_of_large_numbers():
    samples = np.array([1234567.0, 1234569.0]).reshape(2, 1, 1)
    found = SeriesForecast(SeriesFile(np.zeros((1, 1)), ("x",), Clock()), np.array([1]), samples)
    assert table({"": found}).decode().splitlines()[1].split(",")[:3] == ["1", "1234568", "1"]


def test_dates_that_are_not_iso_are_read_by_their_format_and_else_refused(tmp_path: Path):
    """Taken for words they would stand in the order of the alphabet, and days that are lacking would be closed up."""
    days = [f"{1 + i % 28:02d}.{1 + i // 28:02d}.2024" for i in range(56) if i != 5]
    for text, by in (
        ("date,x\n" + "".join(f"{day},{i}\n" for i, day in enumerate(days[:9])), ""),
        ("date,shop,x\n" + "".join(f"{day},{shop},{i}\n" for i, day in enumerate(days) for shop in "abc"), "shop"),
    ):
        path = written(tmp_path, text)
        with pytest.raises(Refused, match=r"column 'date' holds no number and no date of ISO.*data.dates=%d.%m.%Y;"):
            read_each(path, by=by)
        found = next(iter(read_each(path, by=by, dates="%d.%m.%Y").values()))
        assert np.isnan(found.values[:, 0]).tolist()[:9] == [i == 5 for i in range(9)]
        assert found.clock.written(np.array([0, 10])) == ["01.01.2024", "11.01.2024"]
    when = written(tmp_path, "when,x\n" + "".join(f"{day},{i}\n" for i, day in enumerate(days[:9])))
    with pytest.raises(Refused, match=r"if it is the time, --set data.dates=%d.%m.%Y$"):
        read(when)
    assert Series(when, window=4, dates="%d.%m.%Y").load().shape == (1, 4)


def test_times_are_counted_with_all_their_digits(tmp_path: Path):
    stamps = "".join(f"{1700003000123 + 60000 * i},{i}\n" for i in range(9))
    clock = read(written(tmp_path, "timestamp,x\n" + stamps)).clock
    assert clock.written(np.array([9])) == [str(1700003000123 + 60000 * 9)]
    tenths = "".join(f"{start + i / 10:.1f},{shop},{i}\n" for start, shop in ((0, "a"), (5e5, "b")) for i in range(9))
    found = read_each(written(tmp_path, "t,shop,x\n" + tenths), by="shop")
    assert [each.clock.written(np.array([50])) for each in found.values()] == [["5"], ["500005"]]


def test_a_file_of_other_steps_than_those_learned_is_named_and_a_line_alone_has_those(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    learned = {"names": ["x"], "step": 1.0, "unit": "days"}
    run: Any = SimpleNamespace(recipe={"data": {}}, facts={"data": {"series": learned}}, data_shape=(1, 8))
    found, _ = forecast.read(run, written(tmp_path, "when,x\n2024-02-28 12:00,5\n"))
    assert found[""].clock.written(np.array([1, 2])) == ["2024-02-29 12:00", "2024-03-01 12:00"]
    forecast.read(run, written(tmp_path, "when,x\n" + "".join(f"2024-02-{i + 1:02d} 00:00:00,{i}\n" for i in range(9))))
    assert not caplog.text
    forecast.read(run, written(tmp_path, "when,x\n" + "".join(f"2024-02-01 {i:02d}:00,{i}\n" for i in range(9))))
    assert "has steps of 60 minutes, and the run learned from steps of 1440" in caplog.text
