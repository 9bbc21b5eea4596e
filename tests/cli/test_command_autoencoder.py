"""The commands on an autoencoder: it is sampled, judged, compared with its like and with a diffusion model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undiffuse

Undiffuse = Callable[..., Any]
QUICK = ("--metrics", "frechet", "-n", "30", "--precision", "float32")


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A variational autoencoder of digits."""
    folder = tmp_path_factory.mktemp("vae") / "vae"
    recipe = {
        "kind": "autoencoder",
        "data": {"name": "digits"},
        "codec": {"name": "pixels"},
        "network": {"name": "mlp_autoencoder", "latent_channels": 2, "width": 16, "depth": 1},
        "bottleneck": {"name": "kl"},
        "objective": {"name": "autoencoding", "losses": [{"name": "l2"}], "penalty_weight": 1.0, "learned_scale": True},
        "train": {"steps": 10, "batch": 32, "held_out": 0.2, "preview_every": 0, "validate_every": 0, "warmup": 0},
    }
    undiffuse.train(recipe, out=folder).run(progress=False)
    return folder


def test_samples_are_drawn_and_a_way_from_noise_is_refused(undiffuse_: Undiffuse, vae: Path, tmp_path: Path):
    told = undiffuse_("sample", vae, "-n", 4, "-o", "drawn.npz")
    assert told.status == 0
    assert "1 network calls a sample" in told.err
    assert np.load(tmp_path / "drawn.npz")["images"].shape[0] == 4
    refused = undiffuse_("sample", vae, "-n", 4, "--steps", 5)
    assert refused.status
    assert "of a request it takes n, seed, indices, batch" in refused.err
    assert "no way from noise to sample" in undiffuse_("sample", vae, "-o", "way.gif").err


def test_evaluation_prints_quality_rate_and_bounds(undiffuse_: Undiffuse, vae: Path, tmp_path: Path):
    told = undiffuse_("evaluate", vae, *QUICK, "-o", tmp_path / "judged")
    assert told.status == 0
    for word in ("PSNR", "bits an item", "importance-weighted bound", "latents of 2", "principal components"):
        assert word in told.out, word
    assert (tmp_path / "judged" / "reconstructions.png").exists()


def test_two_autoencoders_are_compared_by_the_same_items(undiffuse_: Undiffuse, vae: Path, tmp_path: Path):
    other = tmp_path / "other"
    undiffuse.load(vae, precision="float32").save(other)
    told = undiffuse_("compare", vae, other, *QUICK, "-o", "beside")
    assert told.status == 0, told.err
    assert "of them active" in told.out
    found = json.loads((tmp_path / "beside" / "compare.json").read_text())
    assert found["best"]["PSNR"] == ["vae", "other"]
    assert found["runs"]["vae"]["metrics"] == found["runs"]["other"]["metrics"]
    page = (tmp_path / "beside" / "compare.html").read_text()
    assert "Rate and distortion" in page
    assert "Bits per dimension (bound)" in page


def test_with_a_diffusion_model_samples_are_compared(undiffuse_: Undiffuse, vae: Path, digits: Path, tmp_path: Path):
    told = undiffuse_("compare", digits, vae, *QUICK, "--steps", 2, "-o", "beside")
    assert "an autoencoder draws z ~ N(0, 1) and decodes it once, without steps" in told.err
    told = undiffuse_("compare", digits, vae, *QUICK, "-o", "beside")
    assert told.status == 0, told.err
    assert set(json.loads((tmp_path / "beside" / "compare.json").read_text())["runs"]) == {"digits", "vae"}


def test_what_is_for_denoisers_says_so(undiffuse_: Undiffuse, vae: Path):
    refused = undiffuse_("tune", vae, "variance")
    assert refused.status
    assert "an autoencoder, which has no denoiser" in refused.err
