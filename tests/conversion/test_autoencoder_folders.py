"""AutoencoderKL and VQModel of diffusers are autoencoders with equal outputs, and are written as they were."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from waves import in_float64, wave, waved

import undiffuse
from undiffuse.conversion import autoencoder
from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused

pytestmark = pytest.mark.parity
WEIGHTS = "diffusion_pytorch_model.safetensors"
LEVELS = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [4, 8],
    "norm_num_groups": 2,
    "sample_size": 16,
}


@pytest.fixture(scope="module")
def kl(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    model = waved(AutoencoderKL(**LEVELS, scaling_factor=0.5, shift_factor=0.25))
    model.save_pretrained(folder := tmp_path_factory.mktemp("kl"))
    return model, folder


@pytest.fixture(scope="module")
def vq(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    from diffusers.models.autoencoders.vq_model import VQModel

    torch.manual_seed(0)
    model = VQModel(**LEVELS, num_vq_embeddings=12, latent_channels=2, scaling_factor=0.7).double().eval()
    model.quantize.embedding.weight.data.mul_(20)  # so that places have several codes
    model.save_pretrained(folder := tmp_path_factory.mktemp("vq"))
    return model, folder


def unchanged(run: Any, before: Path, after: Path) -> None:
    """What is written holds the same numbers and means the same, for diffusers as well."""
    first, second = (load_file(path / WEIGHTS) for path in (before, after))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name].float(), second[name]) for name in first)
    said, again = (json.loads((path / "config.json").read_text()) for path in (before, after))
    assert {name: said[name] for name in again if name[0] != "_"} == {n: v for n, v in again.items() if n[0] != "_"}


def test_a_kl_autoencoder_has_the_published_numbers_and_comes_back(kl: tuple[Any, Path], tmp_path: Path):
    """Sums of the moments and of a decoded latent: diffusers 0.42.1 in float64, computed once."""
    model, folder = kl
    run = undiffuse.load(folder, "float32", "cpu")
    export(run, tmp_path / "again")
    unchanged(run, folder, tmp_path / "again")
    in_float64(run).module.network.load_state_dict(autoencoder.weights_from(model.state_dict()))
    x, z = wave((1, 3, 16, 16)), wave((1, 4, 8, 8))
    with torch.inference_mode():
        mean, log_var = run.module.moments(x).chunk(2, 1)
        decoded = run.module.decode(z)
        wanted = model.encode(x).latent_dist
        torch.testing.assert_close(mean, wanted.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(decoded, model.decode(z).sample, rtol=0, atol=1e-12)
    for found, published in ((mean, -22.039532), (log_var, 18.136441), (decoded, -4.463926)):
        assert float(found.sum()) == pytest.approx(published, abs=2e-6)


def test_a_codebook_is_that_of_a_vq_model_and_comes_back(vq: tuple[Any, Path], tmp_path: Path):
    model, folder = vq
    run = undiffuse.load(folder, "float32", "cpu")
    export(run, tmp_path / "again")
    unchanged(run, folder, tmp_path / "again")
    in_float64(run)
    x = wave((2, 3, 16, 16))
    with torch.inference_mode():
        h = run.module.moments(x)
        torch.testing.assert_close(h, model.encode(x).latents, rtol=0, atol=1e-6)  # the weights went through float32
        assert len(run.module.bottleneck.tokens(h).unique()) >= 3
        torch.testing.assert_close(run.module.decode(h), model.decode(h).sample, rtol=0, atol=1e-6)
    run.module.float().train().bottleneck.penalty(None, h.float())
    run.module.bottleneck.after(0)
    assert not run.module.bottleneck.revived  # a step of training takes the codes for what they are


@pytest.mark.parametrize(
    "own",
    [
        {"scaling_factor": 0.18215},
        {"scaling_factor": 1.5305, "shift_factor": 0.0609},
        {"scaling_factor": 0.5, "latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 3.0, 4.0]},
    ],
)
def test_latents_are_scaled_as_the_config_says_and_back(kl: tuple[Any, Path], own: dict[str, Any]):
    run = undiffuse.load(kl[1], "float32", "cpu")
    codec = autoencoder.codec(run, {"_class_name": "AutoencoderKL", **own})
    x = (127.5 * (1 + wave((1, 3, 16, 16)))).round().to(torch.uint8)
    latent = codec.latents(x)
    mean = torch.tensor(own.get("latents_mean", [own.get("shift_factor", 0.0)])).view(-1, 1, 1)
    scale = own["scaling_factor"] / torch.tensor(own.get("latents_std", [1.0])).view(-1, 1, 1)
    torch.testing.assert_close(codec.encode(x), (latent - mean) * scale)
    again = autoencoder.codec(run, {"_class_name": "AutoencoderKL", **autoencoder.scaling(codec)})
    torch.testing.assert_close(again.encode(x), codec.encode(x))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"_class_name": "AutoencoderDC"}, "there holds AutoencoderDC, and autoencoders that are read are"),
        ({"_class_name": "VQModel", "vq_embed_dim": 5}, "vq_embed_dim = 5; ours has codes of 3 numbers"),
        ({"_class_name": "VQModel", "norm_type": "spatial"}, "norm_type = 'spatial'; ours has only 'group'"),
        ({"_class_name": "VQModel", "lookup_from_codebook": True}, "lookup_from_codebook = True; ours has only False"),
        ({"_class_name": "AutoencoderKL", "num_vq_embeddings": 3}, "num_vq_embeddings = 3; ours has no such field"),
    ],
)
def test_what_an_autoencoder_of_ours_has_not_is_named(said: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        autoencoder.read(said, {}, "there")


def test_half_of_a_scaling_is_refused(kl: tuple[Any, Path]):
    run = undiffuse.load(kl[1], "float32", "cpu")
    with pytest.raises(Refused, match=r"has latents_mean = \[1.0\] and latents_std = None: one needs the other"):
        autoencoder.codec(run, {"_class_name": "AutoencoderKL", "latents_mean": [1.0]})
