"""Recipes with labels take data without any: the condition is left out."""

from pathlib import Path

import numpy as np

from undiffuse.cli.train import chosen_recipe
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


def test_other_conditions_do_not_keep_the_label(tmp_path: Path):
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8), np.uint8))
    low = "conditions.low.kind=image"
    chosen, left = chosen_recipe("images", str(tmp_path / "x.npz"), [low])
    assert isinstance(chosen, Recipe)
    assert (list(chosen["conditions"]), left) == (["low"], [])
    chosen, left = chosen_recipe("images", str(tmp_path / "x.npz"), [low, "conditions.label.drop=0.2"])
    assert chosen == "images"
    assert left[-2:] == [low, "conditions.label.drop=0.2"]
