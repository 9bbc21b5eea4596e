"""Names of weights in the files of latent diffusion's own program, and what diffusers calls them."""

import re
from collections.abc import Callable, Iterable
from typing import Final

UNET, VAE, CLIP, CONTROL = (
    *("model.diffusion_model.", "first_stage_model."),
    *("cond_stage_model.transformer.", "control_model."),
)
RESNET: Final = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ENDS: Final = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "input_hint_block.0": "controlnet_cond_embedding.conv_in",
    **{f"input_hint_block.{2 * i + 2}": f"controlnet_cond_embedding.blocks.{i}" for i in range(6)},
    "input_hint_block.14": "controlnet_cond_embedding.conv_out",
    "middle_block_out.0": "controlnet_mid_block",
}
MIDDLE: Final = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
ATTENTION: Final = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
LAYERS: Final = {"nin_shortcut": "conv_shortcut"}
NUMBERED = re.compile(r"(input|output)_blocks\.(\d+)\.(\d+)\.(.+)")
LEVEL = re.compile(r"(encoder|decoder)\.(down|up)\.(\d+)\.(?:block\.(\d+)\.(.+)|(?:down|up)sample\.(conv\..+))")


def unet_names(names: Iterable[str]) -> dict[str, str]:
    """What diffusers calls each weight of a U-Net, or of a ControlNet; what has no name there is left out.

    Block i of a way holds layer (i - 1) % (L + 1) of level (i - 1) // (L + 1) going down, and i % (L + 1) of
    i // (L + 1) going up, with L layers a level.
    """
    names = list(names)
    layers = layers_of(names)
    return _named(names, lambda name: _unet(name, layers + 1))


def vae_names(names: Iterable[str]) -> dict[str, str]:
    """What diffusers calls each weight of an autoencoder, whose levels going up are counted from the other end."""
    names = list(names)
    levels = 1 + max((int(m[3]) for name in names if (m := LEVEL.match(name))), default=0)
    return _named(names, lambda name: _vae(name, levels))


def layers_of(names: Iterable[str]) -> int:
    """How many layers a level of a U-Net has."""
    found = [m for name in names if (m := NUMBERED.match(name)) and m[1] == "input"]
    ends = [int(m[2]) for m in found if m[4].startswith("op.")]
    return min(ends, default=1 + max((int(m[2]) for m in found), default=0)) - 1


def _named(names: Iterable[str], rule: Callable[[str], str | None]) -> dict[str, str]:
    return {name: found for name in names if (found := rule(name)) is not None}


def _unet(name: str, each: int) -> str | None:
    stem, _, kind = name.rpartition(".")
    if stem in ENDS:
        return f"{ENDS[stem]}.{kind}"
    if zero := re.fullmatch(r"zero_convs\.(\d+)\.0\.(.+)", name):
        return f"controlnet_down_blocks.{zero[1]}.{zero[2]}"
    if middle := re.fullmatch(r"middle_block\.([012])\.(.+)", name):
        place = f"mid_block.{MIDDLE[middle[1]]}"
        return f"{place}.{middle[2]}" if middle[1] == "1" else _resnet(place, middle[2])
    if not (numbered := NUMBERED.fullmatch(name)):
        return None
    way, number, part, rest = numbered[1], int(numbered[2]), numbered[3], numbered[4]
    block, layer = divmod(number - 1 if way == "input" else number, each)
    level = f"{'down' if way == 'input' else 'up'}_blocks.{block}"
    if rest.startswith(("op.", "conv.")):
        return f"{level}.{'down' if way == 'input' else 'up'}samplers.0.conv.{rest.partition('.')[2]}"
    return _resnet(f"{level}.resnets.{layer}", rest) if part == "0" else f"{level}.attentions.{layer}.{rest}"


def _resnet(place: str, rest: str) -> str | None:
    stem, _, kind = rest.rpartition(".")
    return f"{place}.{RESNET[stem]}.{kind}" if stem in RESNET else None


def _vae(name: str, levels: int) -> str | None:
    if level := LEVEL.fullmatch(name):
        half, way, number, layer, rest, change = level.groups()
        block = int(number) if way == "down" else levels - 1 - int(number)
        place = f"{half}.{way}_blocks.{block}"
        if change:
            return f"{place}.{way}samplers.0.{change}"
        stem, _, kind = rest.rpartition(".")
        return f"{place}.resnets.{layer}.{LAYERS.get(stem, stem)}.{kind}"
    if middle := re.fullmatch(r"(encoder|decoder)\.mid\.(block_([12])|attn_1)\.(\w+)\.(\w+)", name):
        half, part, number, stem, kind = middle.groups()
        if part == "attn_1":
            return f"{half}.mid_block.attentions.0.{ATTENTION[stem]}.{kind}" if stem in ATTENTION else None
        return f"{half}.mid_block.resnets.{int(number) - 1}.{LAYERS.get(stem, stem)}.{kind}"
    if re.match(r"(encoder|decoder)\.(conv_in|conv_out|norm_out)\.", name):
        return name.replace(".norm_out.", ".conv_norm_out.")
    return name if re.match(r"(post_)?quant_conv\.|quantize\.embedding\.weight$", name) else None
