"""Runs that train for a moment, for tests of the command."""

from pathlib import Path

import pytest

import undiffuse

SMALL = ["network.width=8", "network.multipliers=[1]", "network.attention=[]", "network.blocks=1"]
SHORT = [
    "train.steps=4",
    "train.batch=32",
    "train.held_out=0.05",  # 90 digits, which validation goes through and which samples are judged by
    "train.precision=float32",  # "auto" takes three gradients before the first step
    "train.warmup=0",
    "train.preview_every=0",
    "train.snapshots=2",
    "train.log_every=1",
    "sampler.steps=3",
]


def trained(tmp_path_factory: pytest.TempPathFactory, recipe: str | undiffuse.Recipe, *overrides: str) -> Path:
    """A run of a few steps, in a folder of its own."""
    folder = tmp_path_factory.mktemp("runs") / (recipe if isinstance(recipe, str) else recipe.name)
    for _ in undiffuse.train(recipe, out=folder, overrides=[*SHORT, *overrides]):
        pass
    return folder
