"""What a ControlNetModel of diffusers means: its config and the names of its weights, read and written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.networks import unet_condition_format as unets
from undiffuse.networks.control import ControlBranch
from undiffuse.networks.diffusers_format import read_folder, write_folder
from undiffuse.networks.foreign_weights import holding, unwritten
from undiffuse.networks.unet import UNet

KIND = "ControlNetModel"
# what such a model does when its config leaves a field out, for the fields that only it has ...
DEFAULTS: dict[str, Any] = {
    "conditioning_channels": 3,
    "conditioning_embedding_out_channels": [16, 32, 96, 256],
}
# ... and the only values of others that are known
ONLY: dict[str, tuple[Any, ...]] = {
    "controlnet_conditioning_channel_order": ("rgb",),
    "global_pool_conditions": (False,),
}
PARTS = {  # names of weights: theirs, a branch's
    "controlnet_cond_embedding.": "encoder.",
    "controlnet_down_blocks.": "zeros.",
}
MIDDLE = "controlnet_mid_block."


def from_diffusers(folder: str | Path, network: UNet, name: str = "control") -> ControlBranch:
    """The branch in the folder of a diffusers `ControlNetModel`, which steers this network by a picture of this name.

    Raises Refused, naming the field, for what a branch has not, and, with both, for another network than it is for.
    """
    config, weights = read_folder(folder, KIND, "controlnet")
    config = {field: value for field, value in config.items() if not field.startswith("_")}
    for field, able in ONLY.items():
        if config.get(field, able[0]) not in able:
            raise Refused(f"this {KIND} has {field} = {config[field]!r}; a control has only {able[0]!r}")
    own = DEFAULTS | {field: value for field, value in config.items() if field in DEFAULTS}
    _refuse_another({k: v for k, v in config.items() if k not in DEFAULTS and k not in ONLY}, network)
    shape = (own["conditioning_channels"], 2 ** (len(own["conditioning_embedding_out_channels"]) - 1), 1)
    branch = unwritten(
        lambda: ControlBranch(network, {name: ("image", shape)}, tuple(own["conditioning_embedding_out_channels"]))
    )
    return holding(branch, weights_from(weights, branch), f"{folder} steers another network").requires_grad_(True)


def check_written(branch: ControlBranch) -> dict[str, Any]:
    """The config of the ControlNetModel that computes what the branch does; raises Refused naming what it could not."""
    (_, (form, shape)), *others = branch.conditions.items()
    if others or form != "image":
        raise Refused(f"a {KIND} is shown one image, and this control {', '.join(branch.conditions)}")
    if not issubclass(type(branch.copy), UNet):
        raise Refused(f"a {KIND} is a copy of a U-Net, and this control is one of a {type(branch.copy).__name__}")
    unet = branch.copy
    groups = {part.num_groups for part in unet.modules() if isinstance(part, nn.GroupNorm)}
    config = unets.config_of(unet, groups, 0, unet.texts.width)
    config = {k: v for k, v in config.items() if k not in ("sample_size", "out_channels", "up_block_types")}
    return config | {
        "_class_name": KIND,
        "conditioning_channels": shape[0],
        "conditioning_embedding_out_channels": list(branch.widths),
        **{field: able[0] for field, able in ONLY.items()},
    }


def to_diffusers(branch: ControlBranch, folder: str | Path) -> None:
    """Write a folder that diffusers' `ControlNetModel.from_pretrained` reads.

    Raises Refused, naming it, for what a `ControlNetModel` has not. Nothing is written then.
    """
    config = check_written(branch)
    write_folder(folder, config, weights_to(branch, config["use_linear_projection"]))


def weights_from(theirs: Mapping[str, Tensor], branch: ControlBranch) -> dict[str, Tensor]:
    """The model's weights under a branch's names."""
    found: dict[str, Tensor] = {}
    copied: dict[str, Tensor] = {}
    for name, weight in theirs.items():
        part = next((part for part in PARTS if name.startswith(part)), "")
        if name.startswith(MIDDLE):
            found[f"zeros.{len(branch.zeros) - 1}.{name.removeprefix(MIDDLE)}"] = weight
        elif part:
            found[PARTS[part] + name.removeprefix(part)] = weight
        else:
            copied[name] = weight
    ours = unets.weights_from(copied, branch.copy.residual_names())
    return found | {f"copy.{name}": weight for name, weight in ours.items()}


def weights_to(branch: ControlBranch, linear: bool) -> dict[str, Tensor]:
    """A branch's weights under the model's names. linear: see `unet_condition_format.weights_to`."""
    found: dict[str, Tensor] = {}
    for theirs, ours in PARTS.items():
        layers = {name.removeprefix(ours): each for name, each in branch.state_dict().items() if name.startswith(ours)}
        found |= {theirs + name: weight.detach().contiguous().clone() for name, weight in layers.items()}
    last = f"controlnet_down_blocks.{len(branch.zeros) - 1}."
    found = {(MIDDLE + name.removeprefix(last)) if name.startswith(last) else name: w for name, w in found.items()}
    unet = branch.copy
    state = {name: weight for name, weight in unet.state_dict().items() if name not in dict(unet.named_buffers())}
    return unets.weights_to(state, unet.residual_names(), unet.time_widths, linear) | found


def _refuse_another(config: dict[str, Any], network: UNet) -> None:
    """Raises Refused, with both, for a field that says otherwise than the network."""
    down = config.get("down_block_types", unets.DEFAULTS["down_block_types"])
    up = [unets.UP[kind == unets.DOWN[1]] for kind in reversed(down)]
    wanted = unets.arguments({**config, "up_block_types": up, "out_channels": network.out_channels})
    said: dict[str, Any] = {"heads": 0, "head_width": 0, **wanted, "dropout": network.dropout, "text_width": 0}
    said["attention"] = tuple(sorted(level % len(said["multipliers"]) for level in said["attention"]))
    for field, value in said.items():
        mine: Any = getattr(network, field, 0)
        if field == "attention":
            mine = tuple(sorted(level % len(network.multipliers) for level in mine))
        if mine != value:
            raise Refused(f"this {KIND} is of a U-Net with {field} = {value}, and this one has {mine}")
