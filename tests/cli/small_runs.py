"""Runs that train for a moment, for tests of the command."""

from pathlib import Path

import pytest

import undiffuse

SMALL = ["network.width=16", "network.multipliers=[1]", "network.attention=[]", "network.blocks=1"]
SHORT = [
    "train.steps=4",
    "train.batch=32",  # validation goes through hundreds of held-out digits in batches of this size
    "train.warmup=0",
    "train.previews=10",
    "train.log_every=1",
    "sampler.steps=3",
]


def trained(tmp_path_factory: pytest.TempPathFactory, recipe: str | undiffuse.Recipe, *overrides: str) -> Path:
    """A run of a few steps, in a folder of its own."""
    folder = tmp_path_factory.mktemp("runs") / (recipe if isinstance(recipe, str) else recipe.name)
    for _ in undiffuse.train(recipe, out=folder, overrides=[*SHORT, *overrides]):
        pass
    return folder
