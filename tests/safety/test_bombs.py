"""Texts that are made to exhaust a reader, or to mean two things, are refused in moments and in one line."""

import json
import os
from pathlib import Path

import pytest
from strange import TABLES

from undiffuse.core.errors import Refused
from undiffuse.recipes.build import check
from undiffuse.recipes.recipe import LIMIT, Recipe
from undiffuse.recipes.settings import Train
from undiffuse.storage import files
from undiffuse.storage.strict_json import parse_json

MINIMAL = Recipe.find(TABLES).to_toml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "is broken"),
        ('{"a":' * 200 + "1" + "}" * 200, "is nested more than 64 deep"),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", "is nested more than 64 deep"),
        ('{"a": ' + "1" * 1_000_000 + "}", "Exceeds the limit"),
        ('{"a": ' + "9" * 21 + "}", "has more than 64 bits"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": -1e999}', "-1e999 is too large"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": [-Infinity]}', "-Infinity is no number of JSON"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ("[1, 2]", "holds no JSON object"),
        ('"text"', "holds no JSON object"),
        ("3", "holds no JSON object"),
    ],
)
def test_json_that_is_broken_or_made_to_harm(text: str, message: str):
    with pytest.raises(Refused, match=message) as error:
        parse_json(text, "file")
    assert len(str(error.value)) < 300


def test_a_million_keys_of_which_two_are_equal_do_not_take_hours():
    text = "{" + ",".join(f'"{i}":0' for i in range(300_000)) + ',"299999":1}'
    with pytest.raises(Refused, match="'299999' is there twice"):
        parse_json(text, "file")


def test_what_programs_write_is_read_as_it_was():
    content = {"a": [1, -2.5, None, True, {"b": "ü\U0001f600"}], "c": 2**63, "d": [[[[[1e308]]]]]}
    assert parse_json(json.dumps(content), "file") == content
    assert parse_json(json.dumps(content, ensure_ascii=False), "file") == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "is not TOML"),
        ("a = " + "{b = " * 10_000, "is not TOML"),
        ("a = " + "1" * 100_000, "is not TOML"),
        (".".join(["a"] * 100_000) + " = 1", "a name of more than 32 parts"),
        (" . ".join(['"a"'] * 100_000) + " = 1", "a name of more than 32 parts"),
        ("[" + ".".join(["train"] * 100_000) + "]", "a name of more than 32 parts"),
        ("x = {" + ".".join(["a"] * 100_000) + " = 1}", "a name of more than 32 parts"),
        (f"{MINIMAL}\n[network.a]\n" + "\n".join(".".join(["b"] * 30) + f"{i} = 1" for i in range(3)), "no 'a'"),
        (f"{MINIMAL}\n[process]\na = " + "[" * 70 + "]" * 70, "nested more than 64 deep"),
        (f"{MINIMAL}\n[process]\na = 0x" + "f" * 1000, "process.a has 4000 bits, and 64 are the most"),
        (f"{MINIMAL}\n[process]\na = inf", "process.a = inf: a recipe's numbers are finite"),
        (f"{MINIMAL}\n[process]\na = [1.0, nan]", "process.a = nan: a recipe's numbers are finite"),
        (f"{MINIMAL}\n[process]\na = 1979-05-27", "process.a = 1979-05-27: a recipe holds texts, numbers"),
        (f"{MINIMAL}\n[process]\nname = [1]", r"processes has no '\[1\]'"),
        (f"{MINIMAL}\n[sampler]\nsteps = 1000000000000", "at most 1,000,000 steps"),
        (MINIMAL.replace('name = "edm"', 'name = "linear_beta"\nsteps = 100000000000', 1), "at most 1,000,000 steps"),
        ("\ufeff" + MINIMAL, "is not TOML"),
        ("train = 1", r"write \[train\]"),
        ("x" * (LIMIT + 1), "larger than"),
    ],
)
def test_recipes_that_are_broken_or_made_to_harm(tmp_path: Path, text: str, message: str):
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match=message) as error:
        check(Recipe.find(path))
    assert len(str(error.value)) < 500


def test_a_recipe_may_speak_in_long_sentences_with_dots(tmp_path: Path):
    path = tmp_path / "a.toml"
    path.write_text(f'about = "{"A sentence. " * 40}and so on {"." * 99}"\n{MINIMAL}\n# {"..." * 99}\n')
    assert check(Recipe.find(path)).train == Train(steps=5)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a\\b", "..", ".", "", "a\0b"])
def test_a_recipe_s_name_is_no_way_out_of_the_folder_of_runs(name: str):
    with pytest.raises(Refused, match="is named as a file could be, without a folder"):
        Recipe.of(name, TABLES)


@pytest.mark.parametrize(
    "which", ["a" * 5000, "a\0b", "a\0b.toml", "\ud800.toml", "x/" * 3000, "", ".", "/dev/null.toml"]
)
def test_names_that_no_file_can_have(which: str):
    with pytest.raises(Refused):
        Recipe.find(which)


@pytest.mark.parametrize(
    "setting", ["train.steps=" + "9" * 10_000, "train.steps=" + "[" * 10_000, "train.steps=0x" + "f" * 99]
)
def test_settings_that_are_made_to_harm(setting: str):
    with pytest.raises(Refused):
        check(Recipe.find(TABLES).override([setting]))
    with pytest.raises(Refused, match="nested more than 64 deep"):
        Recipe.find(TABLES).override(["process." + ".".join("a" * 5000) + "=1"])


def test_what_is_no_file_is_not_read_for_ever(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/tty0"), tmp_path):
        with pytest.raises(Refused, match=r"cannot read file .*: (it is no file|.*)"):
            files.read_text(path, "file")
        with pytest.raises(Refused, match=r"cannot read model"):
            files.read_tensors(path, "model")
    with pytest.raises(Refused, match=r"file /proc/.* is larger than 10 bytes"):
        files.read_text(Path("/proc/self/maps"), "file", limit=10)  # claims to have no bytes


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.json").write_text("{}")

    def denied(path: object, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", denied)  # the user root may read everything
    with pytest.raises(Refused, match=r"cannot read file .*a\.json: Permission denied"):
        files.read_json(tmp_path / "a.json", "file")
    with pytest.raises(Refused, match=r"cannot read model .*a\.json: permission denied"):
        files.read_tensors(tmp_path / "a.json", "model")
