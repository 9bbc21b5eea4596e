"""The files of a run's data are known from any folder, and found again where run and data have moved together."""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.derived_conditions import of_recipe
from undiffuse.data.paths import absolute, located
from undiffuse.data.source import Stored
from undiffuse.recipes.recipe import Recipe

TABLES: dict[str, Any] = {
    "codec": {"name": "identity"},
    "schedule": {"name": "flow"},
    "network": {"name": "mlp"},
    "objective": {"name": "denoising"},
    "train": {},
}


def recipe(**data: Any) -> Recipe:
    return Recipe.find({"data": data, **TABLES})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and, in another folder, a run on them; it is the current one."""
    folder = tmp_path / "project"
    for name in ("data/sub", "runs/a", "folders", "shards"):
        (folder / name).mkdir(parents=True)
    for i in range(2):
        (folder / "shards" / f"a-{i:02d}.tar").touch()
    np.save(folder / "data/sub/x.npy", np.zeros((12, 3), np.float32))
    np.save(folder / "data/sub/y.npy", np.arange(12) % 2)
    monkeypatch.chdir(folder)
    return folder


def test_paths_are_absolute_and_words_stay_words(project: Path):
    file = recipe(name="file", path="data/sub/x.npy", labels="data/sub/y.npy", conditions={"v": "data/sub/y.npy"})
    made = absolute(file)["data"]
    assert made["path"] == str(project / "data/sub/x.npy")
    assert made["labels"] == made["conditions"]["v"] == str(project / "data/sub/y.npy")
    assert absolute(Recipe.find({"data": made, **TABLES}))["data"] == made
    for pattern in ("shards/a-{00..01}.tar", "shards/a-*.tar", "shards"):
        assert absolute(recipe(name="shards", path=pattern))["data"]["path"] == str(project / pattern)
    for data in (
        {"name": "folder", "path": str(project), "labels": "folders"},  # and there is a folder of that name
        {"name": "huggingface", "path": "some/name", "split": "data"},
        {"name": "file", "path": "nowhere.npz", "key": "data"},
        {"name": "digits"},
    ):
        assert absolute(recipe(**data))["data"] == data


@pytest.mark.parametrize("stored", ["absolute", "relative"])
def test_a_run_finds_its_data_from_any_folder_and_after_a_move(project: Path, stored: str, tmp_path: Path):
    fields = recipe(name="file", path="data/sub/x.npy", labels="data/sub/y.npy")
    (absolute(fields) if stored == "absolute" else fields).save(project / "runs/a")
    os.chdir(tmp_path)
    for place in (project, tmp_path / "moved"):
        if place != project:
            project.rename(place)
        found = Recipe.find(str((place / "runs/a").relative_to(tmp_path)))
        assert len(of_recipe(found)) == 12
        assert located(found)["data"]["labels"] == str(place / "data/sub/y.npy")
        assert of_recipe(found.override(["train.held_out=0"])).classes == ("0", "1")


def test_data_that_are_gone_are_refused_with_what_to_type(project: Path, tmp_path: Path):
    absolute(recipe(name="file", path="data/sub/x.npy")).save(project / "runs/a")
    (project / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(Refused, match=r"there is no file .*x.npy\nIf the data of .*runs/a have moved.*: --data DATA"):
        of_recipe(Recipe.find("runs/a"))


@pytest.mark.parametrize("name", ["folder", "table", "shards", "text"])
def test_what_is_decoded_is_kept_by_the_files_and_not_by_how_their_path_is_written(name: str):
    one, other = (registry.build("data", {"name": name, "path": path}) for path in ("a", "/b/a"))
    assert one != other
    assert cast(Stored, one).key == cast(Stored, other).key
