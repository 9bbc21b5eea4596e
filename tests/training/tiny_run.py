"""A run that takes a second: a few digits, a tiny U-Net, and everything that could break a resumed run."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.training import checkpoint

TABLES: dict[str, Any] = {
    "data": {"name": "file", "path": str(Path(__file__).with_name("digits.npz"))},  # 300 of them
    "codec": {"name": "pixels"},
    "schedule": {"name": "edm"},
    "network": {"name": "unet", "width": 4, "multipliers": [1], "blocks": 1, "attention": [], "dropout": 0.2},
    "parameterization": {"name": "edm"},
    "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
    "conditions": {"label": {"drop": 0.3}},
    "sampler": {"name": "heun", "steps": 2, "guidance": 1.5},
    "train": {
        "steps": 12,
        "batch": 32,  # 12 steps are more than an epoch: a batch spans two
        "lr": 0.01,
        "warmup": 3,
        "flip": True,
        "log_every": 2,
        "checkpoint_every": 0,
        "preview_every": 0,
        "validate_every": 6,
        "snapshots": 3,
        "held_out": 0.1,  # one batch
        "precision": "float32",  # "auto" takes three gradients before the first step
        "previews": 10,
    },
}


def tensors(run: Path) -> dict[str, Tensor]:
    """The last checkpoint's tensors."""
    path = checkpoint.newest(run)
    assert path is not None
    return checkpoint.load(path)[0]


def metrics(run: Path) -> list[dict[str, Any]]:
    """The log, without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "samples_per_second")} for line in lines
    ]


def same(one: Path, other: Path) -> None:
    """Two runs are the same, bit for bit."""
    mine, theirs = tensors(one), tensors(other)
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not different, different
    assert metrics(one) == metrics(other)
