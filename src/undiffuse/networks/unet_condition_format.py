"""What a UNet2DConditionModel of diffusers means: its config and the names of its weights, read and written."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_config import known_fields
from undiffuse.networks.diffusers_format import NAMES as UNET2D
from undiffuse.networks.diffusers_format import attended_levels, same_arguments, same_config
from undiffuse.networks.diffusers_format import weights_from as renamed_from
from undiffuse.networks.diffusers_format import weights_to as renamed_to

KIND = "UNet2DConditionModel"
# what such a model does when its config leaves a field out, for the fields that a UNet can follow ...
DEFAULTS: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "downsample_padding": 1,
    "dropout": 0.0,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 8,
    "num_attention_heads": None,
    "num_class_embeds": None,
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
}
# ... the only values that it knows of the others ...
ONLY: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "only_cross_attention": (False,),
    "mid_block_scale_factor": (1,),
    "act_fn": ("silu", "swish"),
    "reverse_transformer_layers_per_block": (None,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "dual_cross_attention": (False,),
    "class_embed_type": (None,),
    "addition_embed_type": (None,),
    "addition_time_embed_dim": (None,),
    "resnet_skip_time_act": (False,),
    "resnet_out_scale_factor": (1.0,),
    "time_embedding_type": ("positional",),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "time_cond_proj_dim": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "projection_class_embeddings_input_dim": (None,),
    "attention_type": ("default",),
    "class_embeddings_concat": (False,),
    "mid_block_only_cross_attention": (None, False),
    "cross_attention_norm": (None,),
}
# ... and those that change rounding or the shape of stored weights at most
FREE = {"sample_size", "upcast_attention", "use_linear_projection", "addition_embed_type_num_heads"}
DOWN, UP = ("DownBlock2D", "CrossAttnDownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")

# names of weights: theirs, a UNet's; a dot stands before each name
NAMES = [
    *(pair for pair in UNET2D if pair[0] not in (".group_norm.", ".to_out.0.")),
    (".proj_in.", ".before."),
    (".proj_out.", ".after."),
    (".transformer_blocks.", ".blocks."),
    (".attn1.to_out.0.", ".attention.out."),
    (".attn1.to_", ".attention."),
    (".attn2.to_out.0.", ".cross.out."),
    (".attn2.to_", ".cross."),
    (".ff.net.0.proj.", ".wide."),
    (".ff.net.2.", ".narrow."),
]
AROUND = (".proj_in.weight", ".proj_out.weight")  # once 1 x 1 convolutions


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The UNet's constructor arguments that mean the same as the config, but for its conditions; raises Refused naming
    what a UNet has not.
    """
    c = known_fields(config, KIND, "a UNet", DEFAULTS, ONLY, FREE)
    for name, kinds in (("down_block_types", DOWN), ("up_block_types", UP)):
        for kind in c[name]:
            if kind not in kinds:
                raise Refused(f"this {KIND} has a {kind} among its {name}; a UNet has only {' and '.join(kinds)}")
    attention = tuple(i for i, kind in enumerate(c["down_block_types"]) if kind == DOWN[1])
    if attention != tuple(i for i, kind in enumerate(reversed(c["up_block_types"])) if kind == UP[1]):
        raise Refused(
            f"down_block_types {c['down_block_types']} and up_block_types {c['up_block_types']} have attention at "
            "different levels; a UNet has it on both ways"
        )
    widths = list(c["block_out_channels"])
    for name in ("layers_per_block", "transformer_layers_per_block", "cross_attention_dim"):
        if not isinstance(c[name], int):
            raise Refused(f"this {KIND} has {name} = {c[name]!r}; a UNet has one number for all levels")
    return {
        **same_arguments(c),
        "attention": attention,
        **_heads(c, [widths[level] for level in (*attention, -1)], attention),
        "text_width": 0,
        "transformer_blocks": c["transformer_layers_per_block"],
    }


def _heads(c: Mapping[str, Any], widths: Sequence[int], attention: Sequence[int]) -> dict[str, int]:
    """`heads` or `head_width` of attention over so many channels at these levels, and in the middle.

    attention_head_dim is how many heads there are, in spite of its name, unless num_attention_heads says it.
    """
    said = c["num_attention_heads"] or c["attention_head_dim"]
    if isinstance(said, int):
        return {"heads": said}
    counts = [said[level] for level in (*attention, -1)]
    if len(set(counts)) == 1:
        return {"heads": counts[0]}
    per_head = {width / count for width, count in zip(widths, counts, strict=True)}
    if len(per_head) > 1 or not (wide := next(iter(per_head))).is_integer():
        raise Refused(f"attention_head_dim = {said!r}: a UNet has as many heads at every level, or heads as wide")
    return {"head_width": int(wide)}


def config_of(unet: Any, groups: set[int], sample_size: int | Sequence[int], text_width: int) -> dict[str, Any]:
    """The config of the UNet2DConditionModel that computes what `unet` computes, which reads texts so wide; raises
    Refused naming what it could not.
    """
    widths = [round(unet.width * m) for m in unet.multipliers]
    for name, only in (("dimensions", 2), ("time_scale", 1.0), ("resample", "conv"), ("rescale", False)):
        if (found := getattr(unet, name)) != only:
            raise Refused(f"{name} = {found!r}: a {KIND} is written with {name} = {only!r} only")
    if unet.fourier:
        raise Refused(f"fourier = {unet.fourier}: a {KIND} is written with fourier = 0.0 only")
    if not unet.transformer_blocks:
        raise Refused(f"transformer_blocks = 0: a {KIND} attends by transformer blocks")
    attended = attended_levels(unet, widths, groups, KIND)
    counts = [width // unet.head_width for width in widths] if unet.head_width else unet.heads or 1
    return {
        "_class_name": KIND,
        "_diffusers_version": "0.30.0",
        **{name: values[0] for name, values in ONLY.items()},
        **same_config(unet, widths, groups, sample_size),
        "down_block_types": [DOWN[a] for a in attended],
        "up_block_types": [UP[a] for a in reversed(attended)],
        "attention_head_dim": counts,
        "cross_attention_dim": text_width,
        "transformer_layers_per_block": unet.transformer_blocks,
        "use_linear_projection": bool(unet.head_width),  # as Stable Diffusion 2 has it, and 1 has not
    }


def weights_from(theirs: Mapping[str, Tensor], blocks: Sequence[str]) -> dict[str, Tensor]:
    """The model's weights under a UNet's names; blocks: see `diffusers_format.weights_from`."""
    return renamed_from(theirs, blocks, NAMES)


def weights_to(
    ours: Mapping[str, Tensor], blocks: Sequence[str], widths: Sequence[int], linear: bool
) -> dict[str, Tensor]:
    """A UNet's weights under the model's names. linear: whether the layers around blocks of attention are linear there,
    else convolutions.
    """
    theirs = renamed_to(ours, blocks, widths, NAMES)
    return {
        name: weight[:, :, None, None].clone() if name.endswith(AROUND) and not linear else weight
        for name, weight in theirs.items()
    }
