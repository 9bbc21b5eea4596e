"""The recipe of a model of latents that trains for a moment."""

from pathlib import Path
from typing import Any

SHORT = {"steps": 2, "batch": 16, "previews": 4, "snapshots": 0, "warmup": 0, "precision": "float32"}
QUIET = {**SHORT, "preview_every": 0, "validate_every": 0}


def tables(place: Path, **changed: Any) -> dict[str, Any]:
    """A recipe of a model of the latents, told the class."""
    return {
        "data": {"name": "file", "path": str(place / "images.npz")},
        "codec": {"name": "latent", "autoencoder": str(place / "kl")},
        "schedule": {"name": "flow"},
        "network": {"name": "unet", "width": 8, "multipliers": [1], "attention": [], "blocks": 1},
        "parameterization": {"name": "velocity"},
        "objective": {"name": "denoising"},
        "conditions": {"label": {"drop": 0.2}},
        "sampler": {"name": "ddim", "steps": 3},
        "train": QUIET,
        **changed,
    }
