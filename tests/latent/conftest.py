"""A tiny autoencoder's run and a model of its latents, each trained for a moment."""

from pathlib import Path

import numpy as np
import pytest
from latent_runs import QUIET, SHORT, tables
from latent_spaces import pictures

import undiffuse


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, labels and captions in images.npz."""
    found = tmp_path_factory.mktemp("latents")
    x = np.moveaxis(pictures(120, 8, 3), 1, -1)
    np.savez(
        found / "images.npz", images=x, labels=np.arange(120) % 3, captions=[f"number {i % 5}" for i in range(120)]
    )
    return found


@pytest.fixture(scope="session")
def autoencoder(place: Path) -> Path:
    """Of 3 x 8 x 8 pictures, with latents of 2 x 4 x 4."""
    recipe = {
        "kind": "autoencoder",
        "data": {"name": "file", "path": str(place / "images.npz")},
        "codec": {"name": "pixels"},
        "network": {
            "name": "autoencoder_kl",
            "latent_channels": 2,
            "width": 8,
            "multipliers": [1, 1],
            "blocks": 1,
            "attention": False,
        },
        "bottleneck": {"name": "kl"},
        "objective": {"name": "autoencoding", "losses": [{"name": "l2"}], "learned_scale": True},
        "train": QUIET,
    }
    undiffuse.train(recipe, out=place / "kl").run(progress=False)
    return place / "kl"


@pytest.fixture(scope="session")
def latent(place: Path, autoencoder: Path) -> Path:
    """The run of a model of latents."""
    undiffuse.train(tables(place, train=SHORT), out=place / "latent").run(progress=False)
    return place / "latent"
