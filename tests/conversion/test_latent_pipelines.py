"""Whole DiT and LDM pipelines of diffusers draw the same pictures here, in float64, and are written as they were."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from folders import index
from safetensors.torch import load_file, save_file
from torch import Tensor
from waves import in_float64

import undiffuse
from undiffuse.conversion.writing import export
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory

pytestmark = pytest.mark.parity
STEPS = 10
LEVELS = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [4, 8],
    "norm_num_groups": 2,
}
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195, "clip_sample": False}


def ddim(**own: Any) -> Any:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return DDIMScheduler(**{**BETAS, **own})


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    torch.manual_seed(0)
    network = DiTTransformer2DModel(2, 8, 4, 8, 2, sample_size=8, num_embeds_ada_norm=5, norm_eps=1e-6)
    blocks: Any = network.transformer_blocks
    for block in blocks[1:]:
        block.norm1.emb.load_state_dict(blocks[0].norm1.emb.state_dict())
    vae = AutoencoderKL(**LEVELS, scaling_factor=0.4)
    folder = tmp_path_factory.mktemp("dit")
    network.save_pretrained(folder / "transformer")
    vae.save_pretrained(folder / "vae")
    ddim().save_pretrained(folder / "scheduler")
    parts = {"vae": "AutoencoderKL", "transformer": "DiTTransformer2DModel", "scheduler": "DDIMScheduler"}
    names = {"id2label": {"0": "crane", "1": "egret", "2": "crane", "3": "heron", "4": "stork"}}
    index(folder, "DiTPipeline", **{name: ["diffusers", each] for name, each in parts.items()}, **names)  # type: ignore[arg-type]
    return folder, network.double().eval(), vae.double().eval()


@pytest.fixture(scope="module")
def ldm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    from diffusers.models.autoencoders.vq_model import VQModel
    from diffusers.models.unets.unet_2d import UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    unet = UNet2DModel(8, 3, 3, block_out_channels=[4, 8], norm_num_groups=2, layers_per_block=1, **blocks)  # type: ignore[arg-type]
    vqvae = VQModel(**LEVELS, num_vq_embeddings=32, scaling_factor=0.8)
    vqvae.quantize.embedding.weight.data.normal_()
    folder = tmp_path_factory.mktemp("ldm")
    unet.save_pretrained(folder / "unet")
    vqvae.save_pretrained(folder / "vqvae")
    ddim().save_pretrained(folder / "scheduler")
    parts = {"vqvae": "VQModel", "unet": "UNet2DModel", "scheduler": "DDIMScheduler"}
    index(folder, "LDMPipeline", **{name: ["diffusers", each] for name, each in parts.items()})
    return folder, unet.double().eval(), vqvae.double().eval()


def their_picture(scheduler: Any, noise: Any, z: Tensor, autoencoder: Any, bars: Tensor) -> Tensor:
    """Their loop, with alpha_bar in float64."""
    scheduler.alphas_cumprod = bars
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        z = scheduler.step(noise(z, t), t, z).prev_sample
    return (autoencoder.decode(z / autoencoder.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


def our_picture(run: Any, z: Tensor, weight: float, **cond: Any) -> Tensor:
    """Ours, by the run's own plan, decoded to [0, 1] before pixels are rounded."""
    from undiffuse.guidance.classifier_free import ClassifierFree
    from undiffuse.sampling.plan import plan
    from undiffuse.sampling.request import SampleRequest

    sampler, times = plan(run.recipe, run.denoiser, SampleRequest(steps=STEPS))
    guided = ClassifierFree(run.denoiser, weight=weight) if weight != 1 else run.denoiser
    *_, last = trajectory(guided, sampler, z, times, random=Random(0), **cond)
    mean, std = run.codec.mean[0], run.codec.std[0]
    return (run.codec.autoencoder.module.decode(last * std + mean) / 2 + 0.5).clamp(0, 1)


def bars_of(run: Any) -> Tensor:
    return run.denoiser.process.schedule.alpha(torch.arange(1, 1001, dtype=torch.float64) / 1000) ** 2


def near(value: Any, other: Any) -> bool:
    return value == (pytest.approx(other) if type(other) is float else other)


def unchanged(before: Path, after: Path, *parts: str) -> None:
    for part in parts:
        first, second = (load_file(each / part / "diffusion_pytorch_model.safetensors") for each in (before, after))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
        said, again = (json.loads((each / part / "config.json").read_text()) for each in (before, after))
        differing = {name for name in again if name[0] != "_" and not near(said[name], again[name])}
        assert differing <= {"sample_size", "attn_norm_num_groups"}  # None means as many as elsewhere
    first, second = (json.loads((each / "model_index.json").read_text()) for each in (before, after))
    assert {name: value for name, value in first.items() if name[0] != "_" and name != "id2label"} == {
        name: value for name, value in second.items() if name[0] != "_" and name != "id2label"
    }


@torch.inference_mode()
def test_a_guided_picture_of_a_dit_pipeline(dit: tuple[Path, Any, Any], tmp_path: Path):
    folder, network, vae = dit
    run = undiffuse.load(folder, "float32", "cpu")
    assert run.classes == ("crane (0)", "egret", "crane (2)", "heron", "stork")
    assert run.data_shape == (3, 16, 16)
    assert run.sample(2, label="heron", steps=2).numpy().shape == (2, 3, 16, 16)
    run.save(tmp_path / "run")  # the autoencoder travels inside
    again = undiffuse.load(tmp_path / "run", "float32", "cpu")
    assert (again.sample(2, steps=2).numpy() == run.sample(2, steps=2).numpy()).all()
    assert export(run, tmp_path / "again") == "DiTPipeline"
    unchanged(folder, tmp_path / "again", "transformer", "vae")
    in_float64(run)
    z, label, null = Random(1).normal((2, 4, 8, 8), dtype=torch.float64), torch.tensor([3, 1]), torch.tensor([5, 5])

    def noise(z: Tensor, t: Tensor) -> Tensor:
        with_label, without = (network(z, t[None], class_labels=each).sample[:, :4] for each in (label, null))
        return without + 4 * (with_label - without)

    wanted = their_picture(ddim(), noise, z, vae, bars_of(run))
    torch.testing.assert_close(our_picture(run, z, 4.0, label=label), wanted, rtol=0, atol=1e-7)  # time is float32
    assert wanted.std() > 0.05


@torch.inference_mode()
def test_a_picture_of_an_ldm_pipeline(ldm: tuple[Path, Any, Any], tmp_path: Path):
    folder, unet, vqvae = ldm
    run = undiffuse.load(folder, "float32", "cpu")
    assert export(run, tmp_path / "again") == "LDMPipeline"
    unchanged(folder, tmp_path / "again", "unet", "vqvae")
    in_float64(run)
    z = Random(1).normal((2, 3, 8, 8), dtype=torch.float64)
    wanted = their_picture(ddim(), lambda z, t: unet(z, t).sample, z, vqvae, bars_of(run))
    torch.testing.assert_close(our_picture(run, z, 1.0), wanted, rtol=0, atol=1e-9)
    assert wanted.std() > 0.05


def test_a_unet_alone_is_a_model_of_pixels(ldm: tuple[Path, Any, Any], tmp_path: Path):
    run = undiffuse.load(ldm[0] / "unet", "float32", "cpu")
    assert run.data_shape == (3, 8, 8)
    assert registry.name_of(run.recipe.component("schedule")) == "linear_beta"
    (tmp_path / "config.json").write_text(
        json.dumps({"_class_name": "UNet2DModel", "in_channels": 4, "sample_size": 8})
    )
    with pytest.raises(Refused, match="holds a UNet2DModel of 4 channels, which are no pixels: give the folder of its"):
        undiffuse.load(tmp_path)


def test_a_part_that_is_missing_is_named_with_its_place(dit: tuple[Path, Any, Any], tmp_path: Path):
    for part in ("transformer", "scheduler", "vae"):
        whole = tmp_path / part
        whole.mkdir()
        for each in ("model_index.json", "transformer", "scheduler", "vae"):
            if each != part:
                (whole / each).symlink_to(dit[0] / each)
        file = "scheduler_config" if part == "scheduler" else "config"
        with pytest.raises(Refused, match=rf"lacks its {part}: .*{part}/{file}\.json is not there; put it there"):
            undiffuse.load(whole)


def test_blocks_that_embed_differently_are_refused(dit: tuple[Path, Any, Any], tmp_path: Path):
    (tmp_path / "transformer").mkdir()
    weights = load_file(dit[0] / "transformer" / "diffusion_pytorch_model.safetensors")
    weights["transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.bias"] += 1
    save_file(weights, tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    (tmp_path / "transformer" / "config.json").symlink_to(dit[0] / "transformer" / "config.json")
    for each in ("model_index.json", "scheduler", "vae"):
        (tmp_path / each).symlink_to(dit[0] / each)
    with pytest.raises(Refused, match=r"transformer_blocks\.1 of this DiTTransformer2DModel embeds time and class"):
        undiffuse.load(tmp_path)


def test_what_a_dit_pipeline_has_not_is_not_written(dit: tuple[Path, Any, Any], tmp_path: Path):
    run = undiffuse.load(dit[0], "float32", "cpu")
    for field, value in (("frequency_shift", 0), ("positions", "rotary"), ("mlp", 2.0)):
        recipe = run.recipe.with_tables(network={**run.recipe["network"], field: value})
        changed = type(run)(run.denoiser, run.codec, run.shape, recipe, run.conditions, run.facts)
        message = rf"\n.*dit: {field} = {value!r}: a DiTTransformer2DModel is written with {field} = "
        with pytest.raises(Refused, match=message):
            export(changed, tmp_path / "out")


def test_latents_are_not_clipped(ldm: tuple[Path, Any, Any], tmp_path: Path):
    for each in ("model_index.json", "unet", "vqvae"):
        (tmp_path / each).symlink_to(ldm[0] / each)
    ddim(clip_sample=True).save_pretrained(tmp_path / "scheduler")
    with pytest.raises(Refused, match="has clip_sample = true, and latents, which it would clip"):
        undiffuse.load(tmp_path)
