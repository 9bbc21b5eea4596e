"""The configs and names of diffusers' AutoencoderKL and VQModel, read and written without diffusers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_config import known_fields
from undiffuse.networks.diffusers_format import weights_from as blocks_from
from undiffuse.networks.diffusers_format import weights_to as blocks_to

# what these models do when their config leaves a field out, for the fields that ours can follow ...
SAME: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "norm_num_groups": 32,
    "mid_block_add_attention": True,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {**SAME, "latent_channels": 4, "use_quant_conv": True, "use_post_quant_conv": True},
    "VQModel": {**SAME, "latent_channels": 3, "num_vq_embeddings": 256, "vq_embed_dim": None},
}
# ... the only values that ours knows of the others, and those that change nothing of the network
ONLY: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "norm_type": ("group",),
    "lookup_from_codebook": (False,),
}
FREE = {"sample_size", "scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast"}
CODEBOOK = ("quantize.embedding.weight", "bottleneck.codebook")  # theirs, and that of a whole autoencoder of ours
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def arguments(config: dict[str, Any], kind: str = "AutoencoderKL") -> dict[str, Any]:
    """The constructor arguments of our AutoencoderKL that mean the same as the config of a model of this kind; raises
    Refused naming what it has not.
    """
    c = known_fields(config, kind, "ours", DEFAULTS[kind], ONLY, FREE)
    widths = list(c["block_out_channels"])
    for name, only in BLOCKS.items():
        if list(c[name]) != [only] * len(widths):
            raise Refused(f"this {kind} has {name} = {c[name]}; ours has only {len(widths)} times {only!r}")
    for name, other in (("in_channels", "out_channels"), ("use_quant_conv", "use_post_quant_conv")):
        if c.get(name) != c.get(other):
            raise Refused(f"this {kind} has {name} = {c[name]} and {other} = {c[other]}; ours has both alike")
    if c.get("vq_embed_dim") not in (None, c["latent_channels"]):
        raise Refused(
            f"this {kind} has vq_embed_dim = {c['vq_embed_dim']}; ours has codes of {c['latent_channels']} numbers, "
            "its latent_channels, only"
        )
    return {
        "channels": c["in_channels"],
        "latent_channels": c["latent_channels"],
        "outputs": c["latent_channels"] * (1 if kind == "VQModel" else 2),
        "width": widths[0],
        "multipliers": tuple(int(w / widths[0]) if w % widths[0] == 0 else w / widths[0] for w in widths),
        "blocks": c["layers_per_block"],
        "attention": c["mid_block_add_attention"],
        "groups": c["norm_num_groups"],
        "quant": c.get("use_quant_conv", True),
    }


def config_of(network: Any, groups: set[int], kind: str = "AutoencoderKL", **own: Any) -> dict[str, Any]:
    """The config of the model of this kind that computes what ours does, with fields of its own; raises Refused naming
    what it could not.
    """
    widths = [round(network.width * m) for m in network.multipliers]
    for name, only in (("dimensions", 2), ("patch", 1), ("shortcuts", False), ("dropout", 0.0), ("eps", 1e-6)):
        if (found := getattr(network, name)) != only:
            raise Refused(f"{name} = {found!r}: diffusers' {kind} is written with {name} = {only!r} only")
    if kind == "AutoencoderKL" and network.outputs != 2 * network.latent_channels:
        raise Refused(
            f"outputs = {network.outputs}: diffusers' AutoencoderKL has a mean and a log variance for each of "
            f"{network.latent_channels} latent channels (bottleneck.name = 'kl')"
        )
    if kind == "VQModel" and not network.quant:
        raise Refused("quant = False: diffusers' VQModel is written with quant = True only")
    if len(groups) > 1:
        raise Refused(f"the norms have {sorted(groups)} groups: an {kind} has one number for all; set groups")
    quant = {"use_quant_conv": network.quant, "use_post_quant_conv": network.quant}
    return {
        "_class_name": kind,
        "_diffusers_version": "0.30.0",
        "act_fn": "silu",
        "in_channels": network.channels,
        "out_channels": network.channels,
        **{name: [only] * len(widths) for name, only in BLOCKS.items()},
        "block_out_channels": widths,
        "layers_per_block": network.blocks,
        "latent_channels": network.latent_channels,
        "norm_num_groups": min(groups),
        "mid_block_add_attention": network.attention,
        **(quant if kind == "AutoencoderKL" else {}),
        **own,
    }


def weights_from(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights under our network's names."""
    named = {
        name.replace("post_quant_conv.", "decoder.quant.").replace("quant_conv.", "encoder.quant."): weight
        for name, weight in theirs.items()
    }
    return blocks_from(named)


def weights_to(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our network's weights under their names."""
    named = {
        name.replace("decoder.quant.", "post_quant_conv.").replace("encoder.quant.", "quant_conv."): weight
        for name, weight in ours.items()
    }
    return blocks_to(named)
