"""A tiny prior, a tiny scene, and two images, trained for a few steps."""

from pathlib import Path

import pytest

import undiffuse
from undiffuse.recipes.recipe import Recipe

PRIOR = [
    *("data.count=40", "data.size=8", "network.width=8", "network.multipliers=[1]", "network.attention=[]"),
    *("train.steps=2", "train.batch=8", "train.warmup=0", "train.held_out=0.3", "train.snapshots=0"),
    *("train.preview_every=0", "train.validate_every=0", "train.precision=float32"),
]
SCENE = [
    *("scene.side=6", "scene.samples=4", "train.steps=2", "train.batch=2", "train.checkpoint_every=1"),
    *("train.preview_every=2", "train.validate_every=0", "train.precision=float32", "train.decay=constant"),
]


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "prior"
    undiffuse.train("solids", out=out, overrides=PRIOR).run()
    return out


@pytest.fixture(scope="session")
def recipe(prior: Path) -> Recipe:
    return Recipe.find("solids-scene").override([f"prior.run={prior}", *SCENE])


@pytest.fixture(scope="session")
def scene(recipe: Recipe, prior: Path) -> Path:
    out = prior.with_name("scene")
    undiffuse.train(recipe, out=out).run()
    return out
