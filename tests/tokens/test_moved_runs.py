"""A run whose recipe names files of matrices can be moved: what the files hold travels in the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.recipes.recipe import Recipe
from undiffuse.storage.files import read_tensors, write_tensors
from undiffuse.training.start import train

STEPS = 6
TABLES: dict[str, Any] = {
    "data": {"name": "heartbeat", "count": 60, "length": 4, "period": 3},
    "codec": {"name": "tokens", "vocabulary": 4},
    "process": {"name": "transitions"},
    "schedule": {"name": "jsd", "steps": STEPS},
    "network": {"name": "token_mlp", "width": 8, "depth": 1},
    "objective": {"name": "elbo"},
    "sampler": {"name": "ancestral", "steps": STEPS},
    "train": {"steps": 2, "batch": 8, "preview_every": 0, "validate_every": 0, "checkpoint_every": 1, "snapshots": 0},
}


def prepared(folder: Path, kind: str) -> list[str]:
    """The settings of a process that reads a file in this folder, and the file."""
    if kind == "matrices":
        np.savez(folder / "own.npz", np.full((STEPS, 4, 4), 0.2) + 0.2 * np.eye(4))
        return [f"process.kind={folder / 'own.npz'}"]
    np.save(folder / "places.npy", np.array([[0.0], [1.0], [2.0], [4.0]]))
    return ["process.kind=nearest", f"process.embedding={folder / 'places.npy'}", "process.neighbours=2"]


@pytest.mark.parametrize("kind", ["matrices", "embedding"])
def test_a_run_samples_and_goes_on_without_the_file_that_it_was_trained_with(kind: str, tmp_path: Path):
    settings = prepared(tmp_path, kind)
    train(TABLES, out=tmp_path / "run", overrides=settings).run(progress=False)
    before = undiffuse.load(tmp_path / "run")
    drawn = before.sample(20)
    next(tmp_path.glob("*.np?")).unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    model = undiffuse.load(tmp_path / "moved")
    process: Any = model.denoiser.process
    was: Any = before.denoiser.process
    assert torch.equal(process.matrices, was.matrices)
    assert torch.equal(model.sample(20), drawn)
    model.save(tmp_path / "again")
    assert torch.equal(undiffuse.load(tmp_path / "again").sample(20), drawn)
    train(tmp_path / "moved", resume=True, overrides=["train.steps=3"]).run(progress=False)
    assert undiffuse.load(tmp_path / "moved").facts["step"] == 3
    with pytest.raises(Refused, match="is no array that can be read"):
        train(TABLES, out=tmp_path / "new", overrides=settings)


def test_matrices_that_the_recipe_does_not_name_and_broken_ones_are_refused(tmp_path: Path):
    train(TABLES, out=tmp_path / "run", overrides=prepared(tmp_path, "matrices")).run(progress=False)
    file = tmp_path / "run" / "model.safetensors"
    tensors, about = read_tensors(file, "model")
    assert tensors["process.kind"].shape == (STEPS, 4, 4)
    for changed, message in (
        ({"process.other": torch.zeros(2)}, "holds 'process.other', which the model does not have"),
        ({"process.kind": tensors["process.kind"] * torch.nan}, "broken: .* holds numbers that are infinite or not"),
        ({"process.kind": tensors["process.kind"] / 2}, r"row 0 of the transition matrix of step 1 sums to 0\.5"),
    ):
        write_tensors(file, {**tensors, **changed}, about)
        with pytest.raises(Refused, match=message):
            undiffuse.load(tmp_path / "run")
    del tensors["process.kind"]  # as an older version wrote it: the file is read again
    write_tensors(file, tensors, about)
    assert undiffuse.load(tmp_path / "run").sample(2).shape == (2, 4)


def test_what_a_recipe_s_files_hold_stays_with_it_when_it_is_changed():
    recipe = Recipe("one", TABLES, arrays={"a.npy": torch.eye(2)})
    assert set(recipe.override(["train.steps=5"]).arrays) == {"a.npy"}
    assert set(recipe.with_tables(train={"steps": 7}).arrays) == {"a.npy"}
