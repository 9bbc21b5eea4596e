"""How cells are parted, whether the first line names the columns, and what is said where that is a guess."""

import logging
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.labels import column
from undiffuse.data.sources.table import TableData
from undiffuse.recipes.recipe import Recipe

RANDOM = np.random.default_rng(0)
LINES = "".join(f"{place},{a},{b},{c}\n" for place, (a, b, c) in zip(
    ["FR", "DE", "IT"] * 7, RANDOM.normal(50, 5, (21, 3)).round(2), strict=True))  # fmt: skip
NUMBERS = "".join(f"{a},{b},{c}\n" for a, b, c in RANDOM.normal(size=(20, 3)).round(3))
COUNTS = "".join(f"{a},{b},{c}\n" for a, b, c in RANDOM.integers(0, 90, (20, 3)))
WORDS = "".join(
    f"{a},{b}\n" for a, b in zip(["big", "small"] * 5, ["red", "blue", "red", "red", "blue"] * 2, strict=True)
)


def load(folder: Path, text: str | bytes, **fields: Any) -> Dataset:
    path = folder / "set.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return TableData(str(path), **fields).load()


@pytest.mark.each(
    ("head", "lines", "names"),
    [
        ("country,2019,2020,2021\n", LINES, ("country", "2019", "2020", "2021")),
        ("0,1,2,3\n", LINES.replace("FR", "1").replace("DE", "2").replace("IT", "3"), ("0", "1", "2", "3")),
        ("0,1,2\n", NUMBERS, ("0", "1", "2")),
        ("0,1,2\n", COUNTS, ("0", "1", "2")),
        ("2019,2020,2021\n", NUMBERS, ("2019", "2020", "2021")),
        ("2019,2020,2021\n", COUNTS, ("2019", "2020", "2021")),
        ("10,20,30\n", NUMBERS, ("10", "20", "30")),
        (",0,1,2\n", "".join(f"{i},{line}\n" for i, line in enumerate(NUMBERS.split())), ("column0", "0", "1", "2")),
        ("town,1,2\n", "".join(f"{'ab'[i % 2]}{line[line.index(',') :]}\n" for i, line in enumerate(NUMBERS.split())),
         ("town", "1", "2")),
        ("day,x\n", "".join(f"2023-05-{1 + i:02d},{i}.5\n" for i in range(20)), ("day", "x")),
        ("size,colour\n", WORDS, ("size", "colour")),
        ("a,b,c\n", NUMBERS, ("a", "b", "c")),
        ("", NUMBERS, ()),
        ("", COUNTS, ()),
        ("", "1,2,3\n4,5,6\n7,8,9\n10,11,12\n", ()),
        ("", "0,1\n1,0\n0,0\n0,1\n1,1\n", ()),
        ("", "5,4\n4,2\n1,3\n", ()),
        ("", LINES, ("0", "1", "2", "3")),
        ("", WORDS, ("0", "1")),
    ],
)  # fmt: skip
def test_the_first_line_is_names_where_it_is_unlike_the_others(
    tmp_path: Path, head: str, lines: str, names: tuple[str, ...]
):
    found = load(tmp_path, head + lines)
    assert (found.columns, len(found)) == (names, len(lines.splitlines()))


def test_a_person_says_what_the_first_line_is(tmp_path: Path):
    assert load(tmp_path, "1,2,3\n" + COUNTS, header="yes").columns == ("1", "2", "3")
    assert len(load(tmp_path, "0,1,2\n" + NUMBERS, header="no")) == 21
    assert load(tmp_path, "big,red\n" + WORDS, label="red").classes == ("blue", "red")  # who names it has seen it there


def test_doubts_are_said_with_what_to_type(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    load(tmp_path, "0,1,2\n" + NUMBERS)
    assert "line 1 is taken as the columns' names, 0, 1, 2; if it is an item: --set data.header=no" in caplog.text
    caplog.clear()
    load(tmp_path, "ES,50.2,47,50.5\n" + LINES)
    assert "'ES' stands in line 1 only; if that line names the columns: --set data.header=yes" in caplog.text
    caplog.clear()
    index = "".join(f"{i},{line}\n" for i, line in enumerate(NUMBERS.split()))
    load(tmp_path, ",a,b,c\n" + index)
    assert "counts the lines, as a data frame's index does: leave it out, --set data.drop=column0" in caplog.text
    caplog.clear()
    assert load(tmp_path, ",a,b,c\n" + index, drop=("column0",)).columns == ("a", "b", "c")
    load(tmp_path, "country,2019,2020,2021\n" + LINES)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_quoted_cells_hold_delimiters_and_line_ends_in_names_too(tmp_path: Path):
    text = '"size, in cm";"a ""note""\nof two lines"\n' + "".join(
        f'{170 + i / 10:.1f};"line one\nline {"two; or three"[: 3 + 10 * (i % 2)]}"\n' for i in range(40)
    )
    for end in ("\n", "\r\n"):
        found = load(tmp_path, text.replace("\n", end))
        assert found.columns == ("size, in cm", 'a "note"\nof two lines')
        assert found.categories[1] == ("line one\nline two", "line one\nline two; or three")
        assert len(found) == 40


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a;b\n1,5;-2,25\n3;4,0\n", [[1.5, -2.25], [3, 4]]),
        ("a|b\n1,5|2\n3|4\n", [[1.5, 2], [3, 4]]),
        ("a\tb\n1,5\t2\n3\t4\n", [[1.5, 2], [3, 4]]),
        ('a,b\n"1,5",2\n"3,25",4\n', [[1.5, 2], [3.25, 4]]),
        ("a\n1,5\n2,5\n", [[1.5], [2.5]]),
        ("a, b\n1, 2\n3, 4\n", [[1, 2], [3, 4]]),
        ("a;b\n1e3;+2\n.5;4.\n", [[1000, 2], [0.5, 4]]),
    ],
)
def test_decimals_behind_a_comma_and_every_delimiter_are_found(tmp_path: Path, text: str, wanted: list[list[float]]):
    found = load(tmp_path, text)
    np.testing.assert_array_equal(found.x, wanted)
    assert found.columns == tuple("ab"[: len(wanted[0])])


def test_other_encodings_are_read_where_they_are_named(tmp_path: Path):
    text = "größe;ort\n" + "1,5;Köln\n2,5;Málaga\n" * 10
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-8", "utf-8-sig"):
        found = load(tmp_path, text.encode(encoding), encoding="utf-8" if "utf-8" in encoding else encoding)
        assert (found.columns, found.categories[1]) == (("größe", "ort"), ("Köln", "Málaga"))
    (tmp_path / "labels.csv").write_text('label;n\n"a\nb";1\nc;2\n')
    assert column(str(tmp_path / "labels.csv")) == ["a\nb", "c"]


def test_dates_are_numbers_by_iso_or_by_the_format_that_is_said(tmp_path: Path):
    rows = [
        f"2023-0{1 + i % 9}-1{i % 7},2023-01-01 0{i % 9}:30+02:00,1{i % 7}.0{1 + i % 9}.2023,{i}" for i in range(30)
    ]
    text = "day,time,german,x\n" + "\n".join(rows)
    found = load(tmp_path, text, dates={"german": "%d.%m.%Y"})
    assert found.categories == ()
    assert found.x[:2, 0].tolist() == found.x[:2, 2].tolist() == [19367.0, 19399.0]  # days from 1970
    assert found.x[0, 1] == 19358 * 1440 + 30
    with pytest.raises(Refused, match=r"line 2 \('10.01.2023' is no date like %Y/%m/%d\)"):
        load(tmp_path, text, dates={"german": "%Y/%m/%d"})
    with pytest.raises(Refused, match="no column 'germn' for dates"):
        load(tmp_path, text, dates={"germn": "%Y"})


def test_codes_whose_zeros_count_are_words(tmp_path: Path):
    found = load(tmp_path, "zip,x\n" + "".join(f"{'01234' if i % 3 else '98765'},{i}\n" for i in range(30)))
    assert found.categories == (("01234", "98765"), ())


def test_whole_numbers_stay_whole_to_2_53_and_beyond_by_an_offset(tmp_path: Path):
    big = 10**17
    found = load(tmp_path, "id,x\n" + "".join(f"{big + 7 * i},{i}\n" for i in range(9)))
    assert found.x.dtype == np.float64
    assert found.notes["table"]["bases"]["id"] + found.x[:, 0].astype(int) == pytest.approx(
        [big + 7 * i for i in range(9)]
    )
    assert load(tmp_path, "day\n" + "".join(f"{20230500 + i}\n" for i in range(9))).x[1, 0] == 20230501
    for text in (f"id,x\n1,2\n{10**17},3\n", f"id,x\n{10**20},2\n1,3\n"):
        with pytest.raises(Refused, match=r"column 'id' has whole numbers from 1 to 1.*2\^53.*--set data.drop=id"):
            load(tmp_path, text)


def test_many_categories_are_taken_where_they_are_asked_for(tmp_path: Path):
    text = "place,x\n" + "".join(f"place {i},{i}\n" for i in range(50_000))
    assert len(load(tmp_path, text, categorical=("place",)).categories[0]) == 50_000
    with pytest.raises(Refused, match=r"more than 1,000 different words in 50,000 lines, .*--set data.drop=place, or "):
        load(tmp_path, text)
    odd = '"a place, it\'s",x\n' + "".join(f"place {i},{i}\n" for i in range(50))
    with pytest.raises(Refused, match=r"leave it out, --set 'data.drop=\[\"a place") as refused:
        load(tmp_path, odd)
    typed = shlex.split(str(refused.value).partition("--set ")[2])[0].rstrip(",")
    fields = Recipe.find("table").override([typed])["data"]
    assert load(tmp_path, odd, drop=tuple(fields["drop"])).columns == ("x",)
