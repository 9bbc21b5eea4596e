"""A UNet2DConditionModel of diffusers is a U-Net: its size, every weight, equal outputs in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.unet import UNet
from undiffuse.networks.unet_condition_format import arguments, config_of, weights_from, weights_to
from undiffuse.storage.blueprint import Unwritten

pytestmark = pytest.mark.parity

SD1: dict[str, Any] = {"cross_attention_dim": 768, "sample_size": 64}
TINY: dict[str, Any] = {
    "block_out_channels": [4, 8],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "cross_attention_dim": 8,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "as Stable Diffusion 1, small": {
        **SD1,
        "block_out_channels": [8, 16, 16],
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "norm_num_groups": 4,
        "cross_attention_dim": 12,
        "attention_head_dim": 4,
    },
    "as Stable Diffusion 2, small": {
        **TINY,
        "block_out_channels": [8, 16],
        "down_block_types": ["CrossAttnDownBlock2D"] * 2,
        "up_block_types": ["CrossAttnUpBlock2D"] * 2,
        "attention_head_dim": [2, 4],
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "in-painting, classes, two blocks of attention": {
        **TINY,
        "in_channels": 9,
        "num_class_embeds": 3,
        "attention_head_dim": 2,
        "transformer_layers_per_block": 2,
        "resnet_time_scale_shift": "scale_shift",
    },
}


def ours_of(config: dict[str, Any], weights: dict[str, Tensor], length: int) -> UNet:
    unet = UNet(**arguments(config), conditions={"text": ("text", (length, config["cross_attention_dim"]))})
    found = weights_from(weights, unet.residual_names())
    unet.load_state_dict({**found, "texts.null_text": unet.texts.null("text")})
    return unet.double().eval()


@pytest.mark.each("config", CONFIGS.values(), ids=list(CONFIGS))
def test_outputs_are_equal_in_float64_and_the_weights_come_back(config: dict[str, Any]):
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    torch.manual_seed(0)
    theirs: Any = UNet2DConditionModel(**config)
    theirs.eval()
    weights = theirs.state_dict()
    unet, theirs = ours_of(config, weights, 5), theirs.double()
    x, text = torch.randn(2, unet.channels, 8, 12).double(), torch.randn(2, 5, config["cross_attention_dim"]).double()
    t, label = torch.tensor([3.0, 977.0]), torch.tensor([0, 2]) if "num_class_embeds" in config else None
    with torch.inference_mode():
        wanted = theirs(x, t, text, class_labels=label).sample
        torch.testing.assert_close(unet(x, t, label, text=text), wanted, rtol=0, atol=1e-10)
    assert wanted.std() > 0.1
    linear = config.get("use_linear_projection", False)
    state = {name: weight.float() for name, weight in unet.state_dict().items() if not name.startswith("texts.")}
    back = weights_to(state, unet.residual_names(), unet.time_widths, linear)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    groups = {config["norm_num_groups"]}
    again: Any = UNet2DConditionModel.from_config(config_of(unet, groups, 8, config["cross_attention_dim"]))
    assert {name: weight.shape for name, weight in again.state_dict().items()} == {n: w.shape for n, w in back.items()}


def test_the_u_net_of_stable_diffusion_has_its_size_and_every_weight_a_place():
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"), Unwritten():
        model: Any = UNet2DConditionModel(**SD1)
        theirs = model.state_dict()
        unet = UNet(**arguments(SD1), conditions={"text": ("text", (77, 768))})
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    wanted = {name: weight.shape for name, weight in unet.state_dict().items()}
    assert wanted.pop("texts.null_text") == (77, 768)
    found = weights_from(theirs, unet.residual_names())
    assert {name: weight.shape for name, weight in found.items()} == wanted
    back = weights_to(found, unet.residual_names(), unet.time_widths, linear=False)
    assert {name: weight.shape for name, weight in back.items()} == {n: w.shape for n, w in theirs.items()}
    assert len(back) == 686


def test_a_text_that_is_dropped_or_left_out_is_the_null_condition():
    torch.manual_seed(0)
    unet = ours_of(TINY, weights_to(random_state(), *blocks(), linear=False), 3)
    unet.texts.null("text").copy_(torch.randn(3, 8))
    x, t, text = torch.randn(2, 4, 8, 8).double(), torch.tensor([3.0, 500.0]), torch.randn(2, 3, 8)
    null = unet.texts.null("text").expand(2, -1, -1)
    with torch.inference_mode():
        wanted = unet(x, t, text=null)
        assert torch.equal(unet(x, t), wanted)
        half = unet(x, t, text=text, drop=torch.tensor([True, False]))
        torch.testing.assert_close(half[:1], wanted[:1], rtol=0, atol=1e-12)
        assert (half[1] - wanted[1]).abs().max() > 1e-3
        with pytest.raises(Refused, match=r"takes 'text' of shape \(2, 3, 8\), not \(2, 4, 8\)"):
            unet(x, t, text=torch.randn(2, 4, 8))


def random_state() -> dict[str, Tensor]:
    unet = UNet(**arguments(TINY), conditions={"text": ("text", (3, 8))})
    return {n: 0.2 * torch.randn(w.shape) for n, w in unet.state_dict().items() if not n.startswith("texts.")}


def blocks() -> tuple[list[str], list[int]]:
    with torch.device("meta"), Unwritten():
        unet = UNet(**arguments(TINY), conditions={"text": ("text", (3, 8))})
    return unet.residual_names(), unet.time_widths


@pytest.mark.each(
    ("config", "message"),
    [
        ({"class_embed_type": "timestep"}, "class_embed_type = 'timestep'; a UNet has only None"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type = 'text_time'; a UNet has only None"),
        ({"brand_new": 1}, "brand_new = 1; a UNet has no such field"),
        ({"down_block_types": ["SimpleCrossAttnDownBlock2D"]}, "SimpleCrossAttnDownBlock2D among its down_block_types"),
        ({**TINY, "up_block_types": ["UpBlock2D"] * 2}, "attention at different levels"),
        ({**TINY, "transformer_layers_per_block": [1, 2]}, r"transformer_layers_per_block = \[1, 2\]; a UNet has one"),
        ({**TINY, "block_out_channels": [8, 8], "attention_head_dim": [1, 2]}, None),
        ({"attention_head_dim": [5, 10, 20, 8]}, "as many heads at every level, or heads as wide"),
        ({"resnet_time_scale_shift": "spatial"}, "only 'default' and 'scale_shift'"),
        ({"time_embedding_dim": 5}, r"time_embedding_dim = 5: a UNet has only 4 \* 320"),
    ],
)
def test_what_a_u_net_has_not_is_refused_by_name(config: dict[str, Any], message: str | None):
    if message is None:
        assert arguments(config)["heads"] == 2
        return
    with pytest.raises(Refused, match=message):
        arguments(config)


@pytest.mark.each(
    ("changed", "message"),
    [
        ({"transformer_blocks": 0}, "attends by transformer blocks"),
        ({"time_scale": 2.0}, "time_scale = 2.0: a UNet2DConditionModel is written with time_scale = 1.0 only"),
        ({"fourier": 1.0}, "fourier = 1.0"),
        ({"multipliers": (2, 2)}, "first multiplier of 1"),
        ({"width": 4, "groups": 0, "multipliers": (1, 2)}, "set groups"),
    ],
)
def test_what_such_a_model_has_not_is_not_written(changed: dict[str, Any], message: str):
    with torch.device("meta"), Unwritten():
        unet = UNet(**{**arguments(TINY), "heads": 1, **changed}, conditions={"text": ("text", (3, 8))})
    with pytest.raises(Refused, match=message):
        config_of(unet, {m.num_groups for m in unet.modules() if isinstance(m, torch.nn.GroupNorm)}, 8, 8)


@pytest.mark.each(
    ("options", "message"),
    [
        ({"heads": 3}, "heads = 3 does not divide the 8 channels"),
        ({"heads": 2, "head_width": 4}, "heads = 2 and head_width = 4: give one of the two"),
        ({"transformer_blocks": -1}, "transformer_blocks = -1: a U-Net needs at least 0"),
        ({"conditions": {"text": ("text", (9,))}}, "and 'text' is none"),
        ({"conditions": {"a": ("text", (9, 4)), "b": ("text", (9, 5))}}, "and these are 4, 5 wide"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        UNet(**{"width": 8, "multipliers": (1,), "blocks": 1, "attention": (0,), "text_width": 0, **options})
