"""Tables of words and numbers: what is recognised, what a person can say instead, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data import recipe_for
from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.table import TableData
from undiffuse.data.toys.census import Census

HEAD = "age,town,flag,size,code\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))


def lines(count: int = 40) -> list[str]:
    towns = ("Rome", "Oslo", "", "Rome")
    return [f"{20 + i},{towns[i % 4]},{i % 2},{1.5 * i:g},{(i * 7) % 12}" for i in range(count)]


def table(tmp_path: Path, text: str, **fields: Any) -> Dataset:
    path = tmp_path / "people.csv"
    path.write_text(text, encoding="utf-8")
    return TableData(str(path), **fields).load()


def test_words_and_few_whole_numbers_are_categories_and_all_else_numbers(tmp_path: Path):
    found = table(tmp_path, HEAD + "\n".join(lines()))
    assert found.columns == ("age", "town", "flag", "size", "code")
    assert found.categories == ((), ("", "Oslo", "Rome"), ("0", "1"), (), ())
    np.testing.assert_array_equal(
        found.x[:4], [[20, 2, 0, 0, 0], [21, 1, 1, 1.5, 7], [22, 0, 0, 3, 2], [23, 2, 1, 4.5, 9]]
    )
    described = found.describe()
    assert described["categories"] == {"town": ["", "Oslo", "Rome"], "flag": ["0", "1"]}
    assert found.take(np.arange(3)).categories == found.categories


def test_a_person_knows_better_which_columns_are_categories(tmp_path: Path):
    text = HEAD + "\n".join(lines())
    found = table(tmp_path, text, numeric=("flag",), categorical=("code",))
    assert found.categories == ((), ("", "Oslo", "Rome"), (), (), tuple(map(str, range(12))))
    assert found.x[1, 4] == 7
    only = table(tmp_path, text, columns=("age", "flag"), categorical=("flag",))
    assert only.categories == ((), ("0", "1"))


def test_a_table_of_numbers_is_read_as_before_whatever_numbers_it_has(tmp_path: Path):
    text = "a,b,c\n" + "\n".join(f"{i},{i % 2},{i / 3}" for i in range(50))
    found = table(tmp_path, text)
    assert found.categories == ()
    np.testing.assert_array_equal(found.x, np.array([[i, i % 2, i / 3] for i in range(50)]))
    assert "categories" not in found.describe()
    with pytest.raises(Refused, match=r"(?s)1 line that cannot be read: line 52 \('x' is not a number\).*categorical="):
        table(tmp_path, text + "\nx,0,0")


def test_a_label_and_conditions_are_no_columns_of_the_row(tmp_path: Path):
    found = table(tmp_path, HEAD + "\n".join(lines()), label="flag", conditions={"when": ("age", "size")})
    assert found.columns == ("town", "code")
    assert found.categories == (("", "Oslo", "Rome"), ())
    assert found.classes == ("0", "1")
    np.testing.assert_array_equal(found.conditions["when"][2], [22, 3])


def test_missing_numbers_are_refused_or_filled_in_and_marked(tmp_path: Path):
    rows = lines()
    rows[3], rows[5] = rows[3].replace("23", "", 1), rows[5].replace("25", "NA", 1)
    text = HEAD + "\n".join(rows)
    with pytest.raises(Refused, match=r"(?s)2 lines that cannot be read: line 5 \(cell 1 is empty\).*missing=impute"):
        table(tmp_path, text, missing="refuse")
    found = table(tmp_path, text)
    assert found.columns[-1] == "age missing"
    assert found.categories[-1] == ("no", "yes")
    there = [20 + i for i in range(40) if i not in (3, 5)]
    assert found.x[3, 0] == found.x[5, 0] == sorted(there)[18]  # the lower of the two in the middle: an age of the data
    assert np.flatnonzero(found.x[:, -1]).tolist() == [3, 5]
    filled = table(tmp_path, text, missing="impute")
    assert filled.columns == found.columns[:-1]
    np.testing.assert_array_equal(filled.x, found.x[:, :-1])
    with pytest.raises(Refused, match="column 'a' has no number to stand for missing ones"):
        table(tmp_path, "a,b\n,1\n,2\n?,3", missing="impute", numeric=("a",))


def test_words_alone_are_a_table_whose_first_line_names_the_columns(tmp_path: Path):
    found = table(tmp_path, "size,colour\nbig,red\nsmall,red\nbig,blue\n")
    assert (found.columns, len(found)) == (("size", "colour"), 3)
    assert found.categories == (("big", "small"), ("blue", "red"))
    unnamed = table(tmp_path, "big,red\nsmall,red\nbig,blue\n")
    assert (unnamed.columns, len(unnamed)) == (("0", "1"), 3)


def test_the_order_of_the_lines_changes_no_category(tmp_path: Path):
    forth, back = (table(tmp_path, HEAD + "\n".join(ordered)) for ordered in (lines(), lines()[::-1]))
    np.testing.assert_array_equal(forth.x, back.x[::-1])


def test_a_table_that_does_not_fit_the_memory_is_the_same_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = HEAD + "\n".join(lines())
    whole = table(tmp_path, text)
    monkeypatch.setenv("UNDIFFUSE_MEMORY", "100")
    for _ in range(2):
        mapped = TableData(str(tmp_path / "people.csv")).load()
        assert type(mapped.x).__name__ == "MappedRows"
        np.testing.assert_array_equal(np.asarray(mapped.x), whole.x)
        assert mapped.categories == whole.categories


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        (HEAD + "\n".join([*lines(), "1,Rome,0"]), {}, r"line 42 \(3 cells instead of 5\): 1,Rome,0"),
        (HEAD + "\n".join([*lines(), "1,Rome,0,much,4"]), {}, r"line 42 \('much' is not a number\)"),
        (HEAD + "\n".join([*lines(), "1_0,Rome,0,1,4"]), {}, r"line 42 \('1_0' is not a number\)"),
        (HEAD + "\n".join([*lines(), "1e101,Rome,0,1,4"]), {}, r"line 42 \(1e101 is too large to learn from\)"),
        (HEAD + "\n".join([*lines(), "1,,0,1,4"]), {"label": "town"}, r"line 4 \(it has no label\)"),
        (
            "name,kind\n" + "\n".join(f"n{i // 2 if i < 2 else i},k{i % 3}" for i in range(100)),
            {},
            "'name' has 99 different words in 100 lines, too many .* data.drop=name, .* --set data.categorical=name",
        ),
        (
            "tall,kind\n" + "\n".join(f'"{i},500",k{i % 3}' for i in range(100)),
            {},
            r"'tall' has 100 .* in 100 lines \(\d+,500 has a comma\), too many",
        ),
        (HEAD + "\n".join([*lines(), '1,Rome,0,1,"4', "2,Rome,0,1,4"]), {}, r"line 42 \(its quote stays open"),
        (HEAD + "\n".join(lines()), {"numeric": ("towm",)}, r"no column 'towm' for numeric \(did you mean 'town'"),
        (
            HEAD + "\n".join(lines()),
            {"numeric": ("age",), "categorical": ("age",)},
            "'age' is categorical, and numeric",
        ),
        (HEAD + "\n".join(lines()), {"conditions": {"c": ("age",)}, "categorical": ("age",)}, "'age' is categorical"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path: Path, text: str, fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        table(tmp_path, text, **fields)


def test_broken_lines_of_a_mixed_table_can_be_left_out(tmp_path: Path):
    whole = table(tmp_path, HEAD + "\n".join(lines()))
    found = table(tmp_path, HEAD + "\n".join([*lines(), "1,Rome,0"]), skip_broken=True)
    np.testing.assert_array_equal(found.x, whole.x)
    assert found.describe()["broken"]["count"] == 1


def test_the_door_chooses_the_recipe_by_what_the_columns_hold(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_text(HEAD + "\n".join(lines()), encoding="utf-8")
    mixed = recipe_for.recipe(str(path), ["data.label=flag"])
    assert (mixed["codec"]["name"], mixed["process"]["name"]) == ("columns", "product")
    assert mixed["data"] == {"name": "table", "path": str(path), "label": "flag"}
    assert "conditions" not in recipe_for.recipe(str(path)).tables
    numbers = recipe_for.recipe(str(path), ['data.columns=["age","size"]'])
    assert numbers["codec"]["name"] == "whiten"


def test_a_data_set_of_categories_says_what_they_are():
    x = np.array([[0.0, 1.0], [1.0, 2.0]], np.float32)
    with pytest.raises(Refused, match="column 'b' counts 2 categories from 0"):
        Dataset(x, columns=("a", "b"), categories=((), ("p", "q")))
    with pytest.raises(Refused, match="has 2 columns and kinds for 1"):
        Dataset(x, columns=("a", "b"), categories=((),))


def test_the_census_has_the_law_that_it_says():
    people = Census(20_000).load()
    x, columns = np.asarray(people.x), people.columns
    assert (people.categories[3], people.categories[-1]) == (
        ("none", "school", "college", "university"),
        ("high", "low"),
    )
    found = dict(zip(columns, x.T, strict=True))
    shares = np.bincount(found["education"].astype(int)) / len(x)
    np.testing.assert_allclose(shares, [0.12, 0.45, 0.25, 0.18], atol=0.015)
    assert abs((found["gain"] == 0).mean() - (1 - shares @ [0.05, 0.08, 0.11, 0.17])) < 0.01
    rise = np.array([-1.4, -0.5, 0.4, 1.4])[found["education"].astype(int)]
    odds = -2.6 + rise + 0.05 * (np.minimum(found["age"], 50) - 38) + 0.05 * (found["hours"] - 40)
    odds = odds + 1.3 * (found["marital"] == 1) + 0.9 * (found["occupation"] == 2) + 2.5 * (found["gain"] > 5000)
    chance = 1 / (1 + np.exp(-odds))
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1)):
        here = (chance >= low) & (chance < high)
        assert abs((found["income"] == 0)[here].mean() - chance[here].mean()) < 4 * 0.5 / np.sqrt(here.sum())
    assert np.array_equal(np.asarray(Census(100, seed=3).load().x), np.asarray(Census(100, seed=3).load().x))
    with pytest.raises(Refused, match="count >= 1 and seed >= 0, not 0 and 0"):
        Census(0)
