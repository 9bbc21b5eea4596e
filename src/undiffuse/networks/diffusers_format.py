"""The folder of a diffusers model (config.json and safetensors), and what a UNet2DModel's mean, without diffusers."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_config import known_fields
from undiffuse.storage.weight_files import folder_weights

STEM = "diffusion_pytorch_model"

# what a UNet2DModel does when its config leaves a field out, for the fields that a UNet can follow ...
DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "downsample_padding": 1,
    "dropout": 0.0,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "num_class_embeds": None,
    "time_embedding_dim": None,
}
# ... the only values that it knows of the others, and those that change nothing
ONLY: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "add_attention": (True,),
    "class_embed_type": (None,),
}
FREE = {"sample_size", "num_train_timesteps"}

# names of weights: theirs, a UNet's; a dot stands before each name
NAMES = [
    (".conv_in.", ".enter."),
    (".conv_norm_out.", ".leave_norm."),
    (".conv_out.", ".leave."),
    (".time_embedding.linear_1.", ".time_in."),
    (".time_embedding.linear_2.", ".time_hidden."),
    (".class_embedding.", ".label.table."),
    (".down_blocks.", ".down."),
    (".mid_block.", ".middle."),
    (".up_blocks.", ".up."),
    (".resnets.", ".residuals."),
    (".conv_shortcut.", ".shortcut."),
    (".group_norm.", ".norm."),
    (".to_out.0.", ".out."),
]
LEGACY = [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")]


def read_folder(
    folder: str | Path, kind: str = "UNet2DModel", part: str = "unet"
) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """The config of a model's folder, or of that part of a pipeline's, and its weights, see `folder_weights`.

    Raises Refused if the folder holds no model of this kind.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder / part / "config.json").is_file():
        folder = folder / part
    if not (folder / "config.json").is_file():
        raise Refused(f"{folder} has no config.json: give the folder of a diffusers {kind}")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise Refused(f"{folder / 'config.json'} is not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("_class_name", kind) != kind:
        found = config.get("_class_name") if isinstance(config, dict) else type(config).__name__
        raise Refused(f"{folder} holds a {found}, not a {kind}")
    return config, folder_weights(folder, (STEM,))


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The UNet's constructor arguments that mean the same as the config; raises Refused naming what a UNet has not."""
    c = known_fields(config, "UNet2DModel", "a UNet", DEFAULTS, ONLY, FREE)
    down, up = ([kind.removeprefix("UNetRes") for kind in c[f"{way}_block_types"]] for way in ("down", "up"))
    for kind in (*down, *up):
        if kind not in ("DownBlock2D", "AttnDownBlock2D", "UpBlock2D", "AttnUpBlock2D"):
            raise Refused(
                f"this UNet2DModel has a {kind}; "
                "a UNet has only DownBlock2D, AttnDownBlock2D, UpBlock2D and AttnUpBlock2D"
            )
    attention = tuple(i for i, kind in enumerate(down) if kind == "AttnDownBlock2D")
    if attention != tuple(i for i, kind in enumerate(reversed(up)) if kind == "AttnUpBlock2D"):
        raise Refused(
            f"down_block_types {down} and up_block_types {up} have attention at different levels; "
            "a UNet has it on both ways"
        )
    same, normed = same_arguments(c), c["attn_norm_num_groups"]
    if normed != c["norm_num_groups"] and (same["scale_shift"] or normed is not None):
        raise Refused(
            f"attn_norm_num_groups = {normed}: "
            f"a UNet's middle attention is normed like the rest, in {c['norm_num_groups']} groups"
        )
    return {
        **same,
        "attention": attention,
        "head_width": c["attention_head_dim"] or 0,
    }


def config_of(unet: Any, groups: set[int], sample_size: int | tuple[int, int] | None) -> dict[str, Any]:
    """The config of the UNet2DModel that computes what `unet` computes; raises Refused naming what it could not."""
    widths = [round(unet.width * m) for m in unet.multipliers]
    if unet.dimensions != 2:
        raise Refused(f"dimensions = {unet.dimensions}: a UNet2DModel is for images (dimensions = 2)")
    if unet.time_scale != 1.0:
        raise Refused(f"time_scale = {unet.time_scale}: a UNet2DModel takes its time as it is (time_scale = 1)")
    for name, only in (("resample", "conv"), ("rescale", False), ("fourier", 0.0)):
        if getattr(unet, name) != only:
            raise Refused(f"{name} = {getattr(unet, name)!r}: a UNet2DModel is written with {name} = {only!r} only")
    if unet.conditioning.conditions:
        raise Refused(
            f"a UNet2DModel has no condition but a label, and this U-Net has {', '.join(unet.conditioning.conditions)}"
        )
    attended = attended_levels(unet, widths, groups, "UNet2DModel")
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.30.0",
        **{name: values[0] for name, values in ONLY.items()},
        **same_config(unet, widths, groups, sample_size),
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attended],
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)],
        "attention_head_dim": unet.head_width or None,
        "attn_norm_num_groups": min(groups),
    }


def same_arguments(c: Mapping[str, Any]) -> dict[str, Any]:
    """The UNet's arguments that every U-Net of diffusers says by the same fields; raises Refused for times that a UNet
    embeds otherwise.
    """
    widths = list(c["block_out_channels"])
    if c["resnet_time_scale_shift"] not in ("default", "scale_shift"):
        raise Refused(
            f"resnet_time_scale_shift = {c['resnet_time_scale_shift']!r}: a UNet has only 'default' and 'scale_shift'"
        )
    if c["time_embedding_dim"] not in (None, 4 * widths[0]):
        raise Refused(f"time_embedding_dim = {c['time_embedding_dim']}: a UNet has only 4 * {widths[0]}")
    return {
        "channels": c["in_channels"],
        "out_channels": c["out_channels"],
        "classes": c["num_class_embeds"] or 0,
        "width": widths[0],
        "multipliers": tuple(int(w / widths[0]) if w % widths[0] == 0 else w / widths[0] for w in widths),
        "blocks": c["layers_per_block"],
        "groups": c["norm_num_groups"],
        "eps": c["norm_eps"],
        "dropout": c["dropout"],
        "scale_shift": c["resnet_time_scale_shift"] == "scale_shift",
        "downsample_padding": c["downsample_padding"],
        "frequency_shift": c["freq_shift"],
        "cos_first": c["flip_sin_to_cos"],
    }


def same_config(unet: Any, widths: list[int], groups: set[int], sample_size: Any) -> dict[str, Any]:
    """The fields of the config that every U-Net of diffusers has; raises Refused for what none of them has."""
    for name, given in {"scale_skips": unet.scale_skips, "halve_first": unet.halve_first}.items():
        if given:
            raise Refused(f"{name} = true: a U-Net of diffusers has none")
    if not isinstance(unet.blocks, int):
        raise Refused(f"blocks = {unet.blocks}: a U-Net of diffusers has as many at every level")
    return {
        "sample_size": sample_size,
        "in_channels": unet.channels + unet.conditioning.channels,
        "out_channels": unet.out_channels,
        "freq_shift": unet.frequency_shift,
        "flip_sin_to_cos": unet.cos_first,
        "block_out_channels": widths,
        "layers_per_block": unet.blocks,
        "downsample_padding": unet.downsample_padding,
        "dropout": unet.dropout,
        "norm_num_groups": min(groups),
        "norm_eps": unet.eps,
        "resnet_time_scale_shift": "scale_shift" if unet.scale_shift else "default",
        "num_class_embeds": unet.classes or None,
    }


def attended_levels(unet: Any, widths: list[int], groups: set[int], kind: str) -> list[bool]:
    """Whether each level of a UNet has attention; raises Refused for widths and groups that no config says."""
    if widths[0] != unet.width:
        raise Refused(f"multipliers = {unet.multipliers}: a {kind} needs a first multiplier of 1")
    if len(groups) > 1:
        raise Refused(f"the norms have {sorted(groups)} groups: a {kind} has one number for all; set groups")
    return [level % len(widths) in {a % len(widths) for a in unet.attention} for level in range(len(widths))]


def weights_from(
    theirs: Mapping[str, Tensor], blocks: Sequence[str] = (), names: Sequence[tuple[str, str]] = NAMES
) -> dict[str, Tensor]:
    """Weights of a model of diffusers under a UNet's names: queries, keys and values of one input side by side, and the
    time projections of all blocks.

    blocks: the names of the residual blocks that take a time, in the order of the U-Net's `time_out`. names: pairs of
    theirs and ours.
    """
    ours: dict[str, Tensor] = {}
    for name, weight in theirs.items():
        name = "." + name
        for old, new in [*LEGACY, *names]:
            name = name.replace(old, new)
        name = name.replace(".downsamplers.0.", ".resample.").replace(".upsamplers.0.", ".resample.")
        ours[name[1:]] = (
            weight.flatten(1) if ".attentions." in name and weight.ndim > 2 else weight
        )  # once 1 x 1 convolutions
    for kind in ("weight", "bias"):
        if times := [
            ours.pop(f"{block}.time_emb_proj.{kind}") for block in blocks if f"{block}.time_emb_proj.{kind}" in ours
        ]:
            ours[f"time_out.{kind}"] = torch.cat(times)
        for name in [n for n in ours if n.endswith(f".to_q.{kind}")]:
            parts = [ours.pop(name.replace(".to_q.", f".to_{part}.")) for part in "qkv"]
            ours[name.replace(".to_q.", ".qkv.")] = torch.cat(parts)
    return ours


def weights_to(
    ours: Mapping[str, Tensor],
    blocks: Sequence[str] = (),
    widths: Sequence[int] = (),
    names: Sequence[tuple[str, str]] = NAMES,
) -> dict[str, Tensor]:
    """A UNet's weights under the names of diffusers, see `weights_from`; widths: how many rows of `time_out` each block
    has.
    """
    parts: dict[str, Tensor] = {}
    for name, weight in ours.items():
        stem, _, kind = name.rpartition(".")
        above, _, fused = stem.rpartition(".")
        if stem == "time_out":
            rows = weight.split(list(widths))
            parts |= {f"{block}.time_emb_proj.{kind}": part for block, part in zip(blocks, rows, strict=True)}
        elif fused == "qkv":
            parts |= {f"{above}.to_{part}.{kind}": row for part, row in zip(fused, weight.chunk(3), strict=True)}
        else:
            parts[name] = weight
    theirs: dict[str, Tensor] = {}
    for name, weight in parts.items():
        name = "." + name
        name = name.replace(".resample.", ".downsamplers.0." if ".down." in name else ".upsamplers.0.")
        for new, old in names:
            name = name.replace(old, new)
        theirs[name[1:]] = weight.detach().contiguous().clone()
    return theirs


def write_folder(folder: str | Path, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write config.json and the weights, each under a temporary name first, so that no half-written file is left."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{STEM}.tmp"
    save_file(weights, unfinished, metadata={"format": "pt"})
    os.replace(unfinished, folder / f"{STEM}.safetensors")
    unfinished = folder / "config.json.tmp"
    unfinished.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / "config.json")
