"""A UNet2DModel's folder becomes a U-Net and back, with equal outputs; what a U-Net has not is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from undiffuse.core.errors import Refused
from undiffuse.networks.unet import UNet

pytestmark = pytest.mark.parity

TWO = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
DDPM = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
CONFIGS = {
    "as DDPM, three levels": {
        **DDPM,
        "block_out_channels": [32, 64, 64],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
    "diffusers' own defaults": {**TWO, "block_out_channels": [32, 64]},
    "odd channels, heads, scale and shift": {
        **TWO,
        "in_channels": 5,
        "out_channels": 7,
        "block_out_channels": [21, 35],
        "norm_num_groups": 7,
        "attn_norm_num_groups": 7,
        "attention_head_dim": 5,
        "layers_per_block": 1,
        "resnet_time_scale_shift": "scale_shift",
        "act_fn": "swish",
    },
    "classes, attention everywhere": {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": [16, 24],
        "down_block_types": ["AttnDownBlock2D"] * 2,
        "up_block_types": ["AttnUpBlock2D"] * 2,
        "norm_num_groups": 8,
        "num_class_embeds": 4,
        "layers_per_block": 1,
    },
    "one level, no attention but in the middle": {
        "block_out_channels": [32],
        "down_block_types": ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"],
        "layers_per_block": 3,
    },
}


@pytest.fixture(params=CONFIGS.values(), ids=list(CONFIGS))
def theirs(request):
    from diffusers.models.unets.unet_2d import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(**request.param).eval()


def outputs(theirs, *unets: UNet) -> list[torch.Tensor]:
    torch.manual_seed(1)
    x, t = torch.randn(3, theirs.config["in_channels"], 16, 8), torch.tensor([0.0, 321.5, 999.0])
    label = torch.tensor([0, 3, 1]) if theirs.config["num_class_embeds"] else None
    with torch.inference_mode():
        return [theirs(x, t, class_labels=label).sample, *(unet(x, t, label=label) for unet in unets)]


def test_there_and_back_with_equal_outputs(theirs, tmp_path):
    from diffusers.models.unets.unet_2d import UNet2DModel

    theirs.save_pretrained(tmp_path / "theirs")
    ours = UNet.from_diffusers(tmp_path / "theirs")
    ours.to_diffusers(tmp_path / "ours", sample_size=16)
    back, again = UNet2DModel.from_pretrained(tmp_path / "ours"), UNet.from_diffusers(tmp_path / "ours")
    expected, *got = outputs(theirs, ours, again)
    assert expected.abs().mean() > 0.01
    for output in [*got, outputs(back)[0]]:
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    before, after = (load_file(tmp_path / side / "diffusion_pytorch_model.safetensors") for side in ("theirs", "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_older_folders_pickled_and_with_older_names(tmp_path):
    """The first published DDPM folders hold a pickle, with query, key, value and proj_attn for the attention."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    torch.manual_seed(0)
    theirs = UNet2DModel(**TWO, **DDPM, block_out_channels=(32, 64), layers_per_block=1).eval()
    theirs.save_pretrained(tmp_path / "unet")
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, weight in load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors").items():
        for new, old in renamed.items():
            name = name.replace(new, old)
        weights[name] = weight
    torch.save(weights, tmp_path / "unet" / "diffusion_pytorch_model.bin")
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    expected, got = outputs(theirs, UNet.from_diffusers(tmp_path))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def folder(path: Path, **config) -> Path:
    (path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel", **config}))
    return path


@pytest.mark.each(
    ("config", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "holds a UNet2DConditionModel, not a UNet2DModel"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type = 'fourier'; a UNet has only 'positional'"),
        ({"act_fn": "mish"}, "act_fn = 'mish'; a UNet has only 'silu' or 'swish'"),
        ({"center_input_sample": True}, "center_input_sample = True"),
        ({"mid_block_type": None}, "mid_block_type = None"),
        ({"downsample_type": "resnet"}, "downsample_type = 'resnet'"),
        ({"new_trick": 3}, "new_trick = 3; a UNet has no such field"),
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, "has a SkipDownBlock2D"),
        ({**TWO, "up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}, "attention at different levels"),
        ({**TWO, "resnet_time_scale_shift": "spatial"}, "resnet_time_scale_shift = 'spatial'"),
        ({**TWO, "resnet_time_scale_shift": "scale_shift"}, "attn_norm_num_groups = None"),
        (
            {**TWO, "block_out_channels": [32, 64], "time_embedding_dim": 64},
            r"time_embedding_dim = 64: a UNet has only 4 \* 32",
        ),
        ({**TWO, "block_out_channels": [32, 60]}, "groups = 32 does not divide 60 channels"),
    ],
)
def test_what_a_unet_has_not_is_refused_by_name(tmp_path, config, message):
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(Refused, match=message):
        UNet.from_diffusers(folder(tmp_path, **config))


def test_folders_that_are_not_whole_are_refused(tmp_path):
    with pytest.raises(Refused, match=r"has no config\.json"):
        UNet.from_diffusers(tmp_path)
    with pytest.raises(Refused, match=r"holds no weights: there is no diffusion_pytorch_model\.safetensors"):
        UNet.from_diffusers(folder(tmp_path))
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(Refused, match=r"do not fit their config: .* is nothing and should be"):
        UNet.from_diffusers(folder(tmp_path, **TWO, block_out_channels=[32, 64]))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Refused, match="is not JSON"):
        UNet.from_diffusers(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_scale": 250.0}, "time_scale = 250"),
        ({"multipliers": (2, 2)}, "first multiplier of 1"),
        ({"width": 20, "multipliers": (1, 2)}, "set groups"),
    ],
)
def test_what_a_unet2dmodel_has_not_is_refused_and_nothing_is_written(tmp_path, arguments, message):
    unet = UNet(**{"width": 16, "multipliers": (1, 1), "blocks": 1, **arguments})
    with pytest.raises(Refused, match=message):
        unet.to_diffusers(tmp_path / "out")
    assert not (tmp_path / "out").exists()
