"""The config of a diffusers AutoencoderKL, read and written without diffusers."""

from typing import Any

from undiffuse.core.errors import Refused

# what an AutoencoderKL of diffusers does when its config leaves a field out, for the fields that ours can follow ...
DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"],
    "block_out_channels": [64],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}
# ... the only values that it knows of the others, and those that change nothing of the network
ONLY: dict[str, tuple[Any, ...]] = {"act_fn": ("silu", "swish")}
FREE = {"sample_size", "scaling_factor", "shift_factor", "latents_mean", "latents_std", "force_upcast"}
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The constructor arguments of our AutoencoderKL that mean the same as the config; raises Refused naming what it
    has not.
    """
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    for name, value in config.items():
        if name not in DEFAULTS and name not in FREE and value not in ONLY.get(name, ()):
            able = f"only {' or '.join(map(repr, ONLY[name]))}" if name in ONLY else "no such field"
            raise Refused(f"this AutoencoderKL has {name} = {value!r}; ours has {able}")
    c = DEFAULTS | config
    widths = list(c["block_out_channels"])
    for name, only in BLOCKS.items():
        if list(c[name]) != [only] * len(widths):
            raise Refused(f"this AutoencoderKL has {name} = {c[name]}; ours has only {len(widths)} times {only!r}")
    for name, other in (("in_channels", "out_channels"), ("use_quant_conv", "use_post_quant_conv")):
        if c[name] != c[other]:
            raise Refused(f"this AutoencoderKL has {name} = {c[name]} and {other} = {c[other]}; ours has both alike")
    return {
        "channels": c["in_channels"],
        "latent_channels": c["latent_channels"],
        "outputs": 2 * c["latent_channels"],
        "width": widths[0],
        "multipliers": tuple(int(w / widths[0]) if w % widths[0] == 0 else w / widths[0] for w in widths),
        "blocks": c["layers_per_block"],
        "attention": c["mid_block_add_attention"],
        "groups": c["norm_num_groups"],
        "quant": c["use_quant_conv"],
    }


def config_of(network: Any, groups: set[int], sample_size: int, scaling_factor: float) -> dict[str, Any]:
    """The config of the AutoencoderKL of diffusers that computes what ours does; raises Refused naming what it could
    not.
    """
    widths = [round(network.width * m) for m in network.multipliers]
    for name, only in (("dimensions", 2), ("patch", 1), ("shortcuts", False), ("dropout", 0.0), ("eps", 1e-6)):
        if (found := getattr(network, name)) != only:
            raise Refused(f"{name} = {found!r}: diffusers' AutoencoderKL is written with {name} = {only!r} only")
    if network.outputs != 2 * network.latent_channels:
        raise Refused(
            f"outputs = {network.outputs}: diffusers' AutoencoderKL has a mean and a log variance for each of "
            f"{network.latent_channels} latent channels (bottleneck.name = 'kl')"
        )
    if len(groups) > 1:
        raise Refused(f"the norms have {sorted(groups)} groups: an AutoencoderKL has one number for all; set groups")
    return {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.30.0",
        "act_fn": "silu",
        "in_channels": network.channels,
        "out_channels": network.channels,
        **{name: [only] * len(widths) for name, only in BLOCKS.items()},
        "block_out_channels": widths,
        "layers_per_block": network.blocks,
        "latent_channels": network.latent_channels,
        "norm_num_groups": min(groups),
        "use_quant_conv": network.quant,
        "use_post_quant_conv": network.quant,
        "mid_block_add_attention": network.attention,
        "sample_size": sample_size,
        "scaling_factor": scaling_factor,
    }
