"""A small run of kind autoencoder, and the autoencoders that tests share."""

from pathlib import Path
from typing import Any

import numpy as np

DRAW = np.random.default_rng(0)
PICTURES = DRAW.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


def tables(place: Path, **changed: Any) -> dict[str, Any]:
    """A recipe on 40 pictures of noise, which are written to a file."""
    np.savez(place / "pictures.npz", images=PICTURES)
    return {
        "kind": "autoencoder",
        "data": {"name": "file", "path": str(place / "pictures.npz")},
        "codec": {"name": "pixels"},
        "network": {"name": "mlp_autoencoder", "latent_channels": 3, "width": 16, "depth": 1},
        "bottleneck": {"name": "kl"},
        "objective": {"name": "autoencoding", "losses": [{"name": "l1"}]},
        "train": {"steps": 4, "batch": 8, "previews": 4, "snapshots": 0, "warmup": 0},
        **changed,
    }
