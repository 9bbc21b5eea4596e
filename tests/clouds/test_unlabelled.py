"""Recipes with labels take data without any: the condition is left out."""

from pathlib import Path

import numpy as np

from undiffuse.data.recipe_for import unlabelled
from undiffuse.recipes.recipe import Recipe


def test_clouds_in_one_array_are_trained_without_labels(tmp_path: Path):
    np.save(tmp_path / "clouds.npy", np.zeros((4, 5, 3), np.float32))
    recipe = unlabelled(Recipe.find("point-clouds").override([f"data.path={tmp_path / 'clouds.npy'}"]))
    assert list(recipe["conditions"]) == ["mask"]
    assert "guidance" not in recipe["sampler"]
    for kind in ("a", "b"):
        (tmp_path / "own" / kind).mkdir(parents=True)
        np.save(tmp_path / "own" / kind / "cloud.npy", np.zeros((5, 3), np.float32))
    labelled = Recipe.find("point-clouds").override([f"data.path={tmp_path / 'own'}"])
    assert unlabelled(labelled) is labelled
