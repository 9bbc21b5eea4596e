"""A pair of encoders that is a run without being trained, and tiny runs that stand on it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import undiffuse
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.text import TextCondition
from undiffuse.models.clip import CLIPRun
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe

SHAPE, WIDTH, LENGTH = (1, 4, 4), 8, 6
VALUES: dict[str, Any] = {
    "codec": {"name": "pixels"},
    "schedule": {"name": "edm"},
    "parameterization": {"name": "edm"},
}
TRAIN = {"steps": 2, "batch": 8, "warmup": 0, "snapshots": 0}


def write(folder: Path, seed: int = 0) -> Path:
    """The run of a pair of encoders with random weights."""
    text = TextCondition(length=LENGTH, shape=(LENGTH,))
    tables = {
        "kind": "clip",
        "data": {"name": "file", "path": "pairs.npz"},
        **VALUES,
        "network": {"name": "vit", "patch": 2, "width": 8, "depth": 1, "heads": 2},
        "text_network": {"name": "text_transformer", "width": WIDTH, "depth": 1},
        "objective": {"name": "contrastive"},
        "conditions": {"text": text.written()},
        "train": TRAIN,
    }
    about = Description(Recipe.of("pair", tables), SHAPE, {"text": text}, PixelsCodec(dtype="uint8"), {})
    torch.manual_seed(seed)
    module: Any = CLIPRun.build(about)
    nn.init.normal_(module.items.network.leave.weight)
    run = CLIPRun.of(module.eval().requires_grad_(False), about)
    run.save(folder)
    run.recipe.save(folder)
    return folder


def data(folder: Path, count: int = 40) -> Path:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (count, 4, 4), np.uint8)
    words = np.array([f"{'abc'[i % 3]} {i % 5}" for i in range(count)])
    np.savez(folder / "pairs.npz", images=pictures, captions=words)
    return folder / "pairs.npz"


def prior(data: Path, pair: Path, **changes: Any) -> dict[str, Any]:
    """The tables of a diffusion prior."""
    return {
        "data": {"name": "file", "path": str(data), "conditions": {"text": "captions"}},
        "codec": {"name": "embedding", "encoder": str(pair)},
        "schedule": {"name": "continuous_cosine"},
        "parameterization": {"name": "data"},
        "network": {"name": "prior_transformer", "width": 8, "depth": 1, "heads": 2},
        "objective": {"name": "denoising"},
        "conditions": {"text": {"kind": "prompt", "encoder": str(pair), "drop": 0.1}},
        "sampler": {"name": "ddim", "steps": 2},
        "train": {**TRAIN, "held_out": 0.2},
        **changes,
    }


def decoder(data: Path, pair: Path, **changes: Any) -> dict[str, Any]:
    """The tables of a decoder that is told the vector of a picture, and perhaps its caption."""
    network = {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": [0], "text_width": 8}
    return {
        "data": {"name": "file", "path": str(data), "conditions": {"text": "captions"}},
        **VALUES,
        "network": network,
        "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
        "conditions": {
            "image": {"kind": "embedding", "encoder": str(pair), "tokens": 2, "drop": 0.1},
            "text": {"kind": "prompt", "encoder": str(pair), "drop": 0.5},
        },
        "sampler": {"name": "ddim", "steps": 2},
        "train": {**TRAIN, "held_out": 0.2},
        **changes,
    }


def trained(tables: dict[str, Any], folder: Path) -> Any:
    return undiffuse.train(tables, out=folder).run(progress=False)
