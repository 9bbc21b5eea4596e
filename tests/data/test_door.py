"""What a person types finds its way to data, and to the recipe that fits them."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data import recipe_for, resolve


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/cat", "plain", "shards", "run"):
        Path(folder).mkdir(parents=True)
    for name, side in (("photos/cat/a.png", 8), ("plain/a.png", 30), ("alone.png", 8)):
        Image.fromarray(np.zeros((side, side), np.uint8)).save(name)
    Path("shards/a.tar").touch()
    Path("run/recipe.toml").touch()
    np.save("points.npy", np.random.default_rng(0).normal(size=(20, 3)))
    np.save("waves.npy", np.zeros((4, 2, 31), np.float32))
    np.savez("images.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4))
    Path("t.csv").write_text("a,b,kind\n1,2,x\n3,4,y\n")
    for name in ("x.h5", "x.tsv", "notes.txt", "notes.md"):
        Path(name).touch()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photos", "folder"), ("shards", "shards"), ("shards/a.tar", "shards"), ("shards/{0..3}.tar", "shards"),
        ("points.npy", "file"), ("images.npz", "file"), ("t.csv", "table"), ("x.tsv", "table"), ("x.h5", "hdf5"),
        ("notes.txt", "text"),
    ],
)  # fmt: skip
def test_every_kind_of_data_has_its_component(path: str, name: str):
    assert resolve.table(path) == {"name": name, "path": path}
    assert resolve.is_data(path)


def test_the_home_folder_is_found_where_no_shell_names_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", os.getcwd())
    assert resolve.table("~/t.csv") == {"name": "table", "path": os.path.abspath("t.csv")}


def test_the_hub_and_components_have_names():
    assert resolve.table("hf:some/name") == {"name": "huggingface", "path": "some/name"}
    assert resolve.table("moons") == {"name": "moons"}
    assert len(resolve.open("moons", count=7)) == 7
    assert resolve.open("photos", size=4).shape == (1, 4, 4)
    assert [resolve.is_data(path) for path in ("hf:a", "digits", "run", "my.toml")] == [True, False, False, False]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("mons", r"no data at mons, and no data component 'mons' \(did you mean 'moons'\?\)"),
        ("no/where", "there is no data at no/where$"),
        ("run", "run is the folder of a run, and no data$"),
        ("none.npz", "there is no data at none.npz$"),
        ("notes.md", r"notes.md is no data that can be read; a folder or a file of \.npz"),
        ("alone.png", "an image: name the folder that it lies in"),
    ],
)
def test_what_is_none_is_refused(path: str, message: str):
    with pytest.raises(Refused, match=message):
        resolve.table(path)


def test_the_recipe_follows_the_shape_and_the_label():
    photos, plain, table, points = (recipe_for.recipe(path) for path in ("photos", "plain/", "t.csv", "points.npy"))
    assert (photos.name, photos["data"], photos["network"]["name"]) == (
        "photos", {"name": "folder", "path": "photos"}, "unet",
    )  # fmt: skip
    assert "label" in photos["conditions"]
    assert plain.name == "plain"
    assert (plain["conditions"], "guidance" in plain["sampler"]) == ({}, False)
    assert (points["network"]["name"], points["conditions"]) == ("mlp", {})
    assert table["conditions"] == {}
    labelled = recipe_for.recipe("t.csv", ["data.label=kind", "train.steps=3"])
    assert ("label" in labelled["conditions"], labelled["train"]["steps"]) == (True, 3)
    with pytest.raises(Refused, match="is no data in a file; name a recipe"):
        recipe_for.recipe("moons")


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("plain", [], "a height of 30: .* takes what 4 divides; --set data.size=32"),
        ("plain", ["data.size=[28,30]"], r"a width of 30: .* --set data.size=\[28,32\]"),
        ("plain", ["data.size=28"], ""),
        ("waves.npy", ["data.axes=NCL"], r"a length of 31: .* --set network.multipliers=\[1\] network.attention=\[0\]"),
        ("points.npy", [], ""),
    ],
)
def test_a_size_that_the_network_cannot_take_comes_with_one_that_it_can(path: str, settings: list[str], message: str):
    chosen = recipe_for.recipe(path, settings)
    found = recipe_for.misfit(chosen, registry.build("data", chosen["data"]).peek().shape)
    assert re.search(message, found) if message else found == ""
