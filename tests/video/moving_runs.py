"""Recipes of moving digits, tiny."""

from pathlib import Path

from undiffuse.recipes.recipe import Recipe

FRAMES = 5


def recipe(name: str, digits: Path, *settings: str) -> Recipe:
    data = {"path": str(digits), "count": 40, "frames": FRAMES, "size": 8, "side": 5}
    small = [f"data.{field}={value}" for field, value in data.items()]
    network = ["network.width=8", "network.multipliers=[1,2]", "network.attention=[1]", "network.head_width=0"]
    steps = ["train.steps=2", "train.batch=2", "train.preview_every=2", "train.previews=2", "train.warmup=0"]
    return Recipe.find(name).override(
        [*small, *network, *steps, "sampler.steps=2", "train.validate_every=2", *settings]
    )
