"""Single files of latent diffusion's own program: every weight has its name, and the model is that of the folder."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from folders import stable_diffusion
from safetensors.torch import load_file, save_file
from torch import Tensor

import undiffuse
from undiffuse.conversion.ldm_names import CLIP, UNET, VAE, unet_names, vae_names
from undiffuse.conversion.single_file import SingleFile
from undiffuse.core.errors import Refused

pytestmark = pytest.mark.parity
ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
IN_VAE = [
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"attn_1\.group_norm", "attn_1.norm"),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    (r"attn_1\.to_([qkv])", r"attn_1.\1"),
    (r"(down|up)_blocks", r"\1"),
    (r"resnets\.", "block."),
    (r"(down|up)samplers\.0", r"\1sample"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
]


def unet_there(name: str, layers: int) -> str:
    """What the program calls a weight of a U-Net."""
    stem, _, kind = name.rpartition(".")
    if stem in ENDS:
        return f"{ENDS[stem]}.{kind}"
    if name.startswith("mid_block."):
        part, number, rest = name.split(".", 3)[1:]
        place = f"middle_block.{1 if part == 'attentions' else 2 * int(number)}"
    else:
        way, block, part, number, rest = name.split(".", 4)
        each, down = layers + 1, way == "down_blocks"
        last = layers + down
        layer = int(number) if part in ("resnets", "attentions") else last
        index = int(block) * each + (1 + min(layer, layers) if down else min(layer, layers))
        place = f"{'input' if down else 'output'}_blocks.{index}.{1 if part == 'attentions' else 0}"
        if part.endswith("samplers"):
            return f"{place}.op.{rest[5:]}" if down else f"{place[:-1]}UP.{rest}"
    stem, _, kind = rest.rpartition(".")
    return f"{place}.{RESNET[stem]}.{kind}" if part == "resnets" else f"{place}.{rest}"


def ldm_unet(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A U-Net's weights as the program saves them: what doubles the resolution stands behind attention, if any."""
    named = {unet_there(name, layers): weight for name, weight in weights.items()}
    attended = {name.split(".")[1] for name in named if re.match(r"output_blocks\.\d+\.1\.", name)}
    return {
        name.replace("UP", "2" if name.split(".")[1] in attended else "1"): weight for name, weight in named.items()
    }


def ldm_vae(weights: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        old = name
        for new, there in IN_VAE:
            name = re.sub(new, there, name)
        name = re.sub(r"decoder\.up\.(\d+)", lambda m: f"decoder.up.{levels - 1 - int(m[1])}", name)
        found[name] = weight[..., None, None] if ".attentions." in old and weight.ndim == 2 else weight
    return found


def test_every_weight_is_named_as_diffusers_names_it():
    """Of networks with the levels and layers of Stable Diffusion 1, by diffusers' own conversion."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    widths: Any = (32, 64, 96, 96)
    ends: Any = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=8)
        vae: Any = AutoencoderKL(block_out_channels=widths, layers_per_block=2, **ends)
    for model, there, prefix, convert, names, count in (
        (unet, ldm_unet(unet.state_dict(), 2), UNET, convert_ldm_unet_checkpoint, unet_names, 686),
        (vae, ldm_vae(vae.state_dict(), 4), VAE, convert_ldm_vae_checkpoint, vae_names, 248),
    ):
        wanted = convert({prefix + name: weight for name, weight in there.items()}, dict(model.config))
        found = names(there)
        assert len(found) == count
        assert {name: there[old] is wanted[name] or wanted[name].ndim == 2 for old, name in found.items()} == (
            dict.fromkeys(wanted, True)
        )


def test_weights_of_a_controlnet():
    """ControlNet's program: arXiv:2302.05543, released code."""
    there = ["input_hint_block.0.bias", "input_hint_block.2.bias", "input_hint_block.12.bias"]
    there += ["input_hint_block.14.bias", "zero_convs.0.0.weight", "zero_convs.11.0.bias", "middle_block_out.0.weight"]
    assert list(unet_names(there).values()) == [
        *(f"controlnet_cond_embedding.{name}.bias" for name in ("conv_in", "blocks.0", "blocks.5", "conv_out")),
        *("controlnet_down_blocks.0.weight", "controlnet_down_blocks.11.bias", "controlnet_mid_block.weight"),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    path = tmp_path_factory.mktemp("sd")
    stable_diffusion(path, {"block_out_channels": [32, 64], "norm_num_groups": 32, "attention_head_dim": 8})
    both: Any = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    AutoencoderKL(block_out_channels=[32, 32], sample_size=16, **both).save_pretrained(path / "vae")  # type: ignore[arg-type]
    config = path / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_attention_heads": 1}))
    return path


@pytest.fixture(scope="module")
def single(folder: Path) -> dict[str, Tensor]:
    """The weights of that folder as the program saves them, with what else it saves."""
    unet, vae = (load_file(folder / part / "diffusion_pytorch_model.safetensors") for part in ("unet", "vae"))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return {
        **{UNET + name: weight.contiguous() for name, weight in ldm_unet(unet, 1).items()},
        **{VAE + name: weight.contiguous() for name, weight in ldm_vae(vae, 2).items()},
        **{CLIP + name: weight for name, weight in load_file(folder / "text_encoder" / "model.safetensors").items()},
        f"{CLIP}text_model.embeddings.position_ids": torch.arange(8)[None],
        "alphas_cumprod": (1 - betas).cumprod(0).float(),
        "model_ema.decay": torch.tensor(0.9999),
    }


def tensors(run: Any) -> dict[str, Tensor]:
    return {name: weight for name, weight in run.tensors().items() if weight.is_floating_point()}


def test_a_single_file_is_the_model_of_the_folder(folder: Path, single: dict[str, Tensor], tmp_path: Path):
    file = tmp_path / "sd.safetensors"
    save_file(single, file)
    with pytest.raises(Refused, match=r"sd/tokenizer"):
        undiffuse.load(file)
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "tokenizer").symlink_to(folder / "tokenizer")
    run, there = undiffuse.load(file, "float32", "cpu"), undiffuse.load(folder, "float32", "cpu")
    assert tensors(run).keys() == tensors(there).keys()
    assert all(torch.equal(weight, tensors(there)[name]) for name, weight in tensors(run).items())
    assert run.recipe["schedule"] == there.recipe["schedule"]
    assert run.recipe["network"] == {**there.recipe["network"]}
    torch.save({"state_dict": single}, tmp_path / "sd.ckpt")
    checkpoint = undiffuse.load(tmp_path / "sd.ckpt", "float32", "cpu")
    assert all(torch.equal(weight, tensors(there)[name]) for name, weight in tensors(checkpoint).items())


def test_averaged_weights_and_another_table_are_taken_where_they_are(single: dict[str, Tensor], tmp_path: Path):
    name = "input_blocks.0.0.bias"
    averaged = {f"model_ema.diffusion_model{name.replace('.', '')}": single[UNET + name] + 1}
    bars = (1 - torch.linspace(0.001, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    save_file({**single, **averaged, "alphas_cumprod": bars}, tmp_path / "x.safetensors")
    source = SingleFile(tmp_path / "x.safetensors")
    assert torch.equal(source.weights("unet")["conv_in.bias"], single[UNET + name] + 1)
    assert source.scheduler()["trained_betas"][0] == pytest.approx(0.001)
    assert source.has("vae")
    assert not source.has_config()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conditioner.embedders.0.x"], "is of Stable Diffusion XL, which has two text encoders"),
        (["cond_stage_model.model.x"], "is of Stable Diffusion 2, whose text encoder is OpenCLIP's"),
        (["x_embedder.proj.weight"], r"is of a DiT, whose file has no autoencoder: networks\.DiT\.from_original"),
        (["weight"], r"is of no program that is known here: no weight's name begins with model\.diffusion_model\."),
    ],
)
def test_other_files_are_refused_by_what_they_are(names: list[str], message: str, tmp_path: Path):
    save_file({name: torch.zeros(2) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(Refused, match=message):
        undiffuse.load(tmp_path / "x.safetensors")


def test_a_weight_without_a_place_is_named(single: dict[str, Tensor], tmp_path: Path):
    save_file({**single, f"{UNET}label_emb.0.0.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    source = SingleFile(tmp_path / "x.safetensors")
    with pytest.raises(Refused, match=r"model\.diffusion_model\.label_emb\.0\.0\.weight is a weight of no unet"):
        source.weights("unet")
    with pytest.raises(Refused, match=r"has no safety_checker: that is in no file of this kind"):
        source.said("safety_checker")
