"""DiTs of others, read without their code: diffusers' DiTTransformer2DModel, and files of the paper's own program."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_config import known_fields
from undiffuse.networks.diffusers_format import read_folder
from undiffuse.storage.weight_files import file_weights

# what a DiTTransformer2DModel does when its config leaves a field out, for the fields that a DiT can follow ...
DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "sample_size": 32,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
}
# ... the only values that it knows of the others, and those that change nothing but rounding
ONLY: dict[str, tuple[Any, ...]] = {
    "dropout": (0.0,),
    "attention_bias": (True,),
    "activation_fn": ("gelu-approximate",),
    "upcast_attention": (False, True),
    "norm_type": ("ada_norm_zero",),
    "norm_elementwise_affine": (False,),
    "norm_eps": (1e-5, 1e-6),
}
FREE = {"norm_num_groups"}

# names of weights: of the paper's program, a DiT's; a dot stands before each name
NAMES = [
    (".x_embedder.proj.", ".enter."),
    (".t_embedder.mlp.", ".time."),
    (".y_embedder.embedding_table.", ".label.table."),
    (".attn.qkv.", ".attention.qkv."),
    (".attn.proj.", ".attention.out."),
    (".mlp.fc1.", ".mlp.wide."),
    (".mlp.fc2.", ".mlp.narrow."),
    (".adaLN_modulation.1.", ".modulation.linear."),
    (".final_layer.", ".final."),
]
# the same of diffusers, where every block has its own copy of the embeddings, and the first one's counts
FIRST = ".transformer_blocks.0.norm1.emb."
DIFFUSERS = [
    (".pos_embed.proj.", ".enter."),
    (f"{FIRST}timestep_embedder.linear_1.", ".time.0."),
    (f"{FIRST}timestep_embedder.linear_2.", ".time.2."),
    (f"{FIRST}class_embedder.embedding_table.", ".label.table."),
    (".transformer_blocks.", ".blocks."),
    (".norm1.linear.", ".modulation.linear."),
    (".attn1.to_out.0.", ".attention.out."),
    (".attn1.", ".attention."),
    (".ff.net.0.proj.", ".mlp.wide."),
    (".ff.net.2.", ".mlp.narrow."),
    (".proj_out_1.", ".final.modulation.linear."),
    (".proj_out_2.", ".final.linear."),
]
WRITTEN: dict[str, Any] = {  # the only values of a DiT's arguments that a DiTTransformer2DModel has
    "mlp": 4.0,
    "conditioning": "adaln_zero",
    "positions": "sine",
    "qk_norm": False,
    "norm": "layer",
    "activation": "gelu",
    "long_skips": False,
    "drop_tokens": None,
    "time_scale": 1.0,
    "frequency_shift": 1,
}
HEADS = {1152: 16}  # of the paper's network of this width; the others have one for 64 numbers, as a DiT by itself


def from_diffusers(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The arguments of a DiT that mean the same as the folder's config, and its weights under a DiT's names.

    Raises Refused, naming the field, for what a DiT has not.
    """
    config, theirs = read_folder(folder, "DiTTransformer2DModel", "transformer")
    return arguments(config), weights_from(theirs)


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a DiT that mean the same as a config; raises Refused, naming the field, for what it has not."""
    c = known_fields(config, "DiTTransformer2DModel", "a DiT", DEFAULTS, ONLY, FREE)
    return {
        "channels": c["in_channels"],
        "out_channels": c["out_channels"] or c["in_channels"],
        "shape": (c["in_channels"], c["sample_size"], c["sample_size"]),
        "classes": c["num_embeds_ada_norm"],
        "patch": c["patch_size"],
        "width": c["num_attention_heads"] * c["attention_head_dim"],
        "depth": c["num_layers"],
        "heads": c["num_attention_heads"],
    }


def weights_from(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of diffusers under a DiT's names; raises Refused where blocks embed time and class differently."""
    weights = _named(_first_copies(theirs), DIFFUSERS)
    for name in [n for n in weights if ".attention.to_q." in n]:
        parts = [weights.pop(name.replace("to_q", f"to_{part}"), None) for part in "qkv"]
        weights[name.replace("to_q", "qkv")] = torch.cat([part for part in parts if part is not None])
    return weights


def config_of(table: Mapping[str, Any], shape: tuple[int, ...], out_channels: int, classes: int) -> dict[str, Any]:
    """The config of the DiTTransformer2DModel that computes what a DiT with these arguments does.

    table: all arguments of the DiT. Raises Refused, naming the argument, for what it could not.
    """
    for name, only in WRITTEN.items():
        if table[name] != only:
            raise Refused(f"{name} = {table[name]!r}: a DiTTransformer2DModel is written with {name} = {only!r} only")
    if len(shape) != 3 or shape[1] != shape[2] or not classes:
        raise Refused(f"a DiTTransformer2DModel is for squares with a class, not {shape} with {classes} classes")
    return {
        "_class_name": "DiTTransformer2DModel",
        "_diffusers_version": "0.30.0",
        **{name: values[0] for name, values in ONLY.items()},
        "norm_num_groups": 32,
        "num_attention_heads": table["heads"],
        "attention_head_dim": table["width"] // table["heads"],
        "in_channels": shape[0],
        "out_channels": out_channels,
        "num_layers": table["depth"],
        "sample_size": shape[1],
        "patch_size": table["patch"],
        "num_embeds_ada_norm": classes,
        "norm_eps": table["eps"],
    }


def weights_to(ours: Mapping[str, Tensor], patch: int) -> dict[str, Tensor]:
    """A DiT's weights under the names of diffusers, where every block has the embeddings."""
    depth = len({name.split(".")[1] for name in ours if name.startswith("blocks.")})
    theirs: dict[str, Tensor] = {}
    for name, weight in ours.items():
        stem, _, kind = name.rpartition(".")
        if name == "positions.table":
            continue  # theirs is computed
        if stem.endswith(".qkv"):
            parts = zip("qkv", weight.chunk(3), strict=True)
            theirs |= {f"{_theirs(stem[:-3])}to_{part}.{kind}": rows for part, rows in parts}
            continue
        weight = weight.unflatten(1, (-1, patch, patch)) if name == "enter.weight" else weight
        found = _theirs(name)
        copies = [found.replace(FIRST[1:], FIRST[1:].replace("blocks.0.", f"blocks.{i}.")) for i in range(depth)]
        theirs |= dict.fromkeys(copies, weight)
    return {name: weight.detach().contiguous().clone() for name, weight in theirs.items()}


def _theirs(name: str) -> str:
    name = f".{name}"
    for theirs, ours in sorted(DIFFUSERS, key=lambda pair: -len(pair[1])):  # a name that holds another goes first
        name = name.replace(ours, theirs)
    return name[1:]


def from_original(file: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The arguments of a DiT that a file of the paper's program holds, by the shapes in it, and its weights.

    A checkpoint of training holds averaged weights under `ema`, which are taken. Raises Refused for another file.
    """
    held = file_weights(Path(file))
    try:
        enter, table, places = (
            held[name].shape for name in ("x_embedder.proj.weight", "y_embedder.embedding_table.weight", "pos_embed")
        )
        width, channels, patch, _ = enter
        out = held["final_layer.linear.weight"].shape[0] // patch**2
    except (KeyError, ValueError, AttributeError) as error:
        raise Refused(f"{file} holds no DiT of the paper's program: {error} is missing or of another shape") from None
    size = round(places[1] ** 0.5) * patch
    depth = len({name.split(".")[1] for name in held if name.startswith("blocks.")})
    heads = {"heads": HEADS[width]} if width in HEADS else {}
    return {
        "channels": channels,
        "out_channels": out,
        "shape": (channels, size, size),
        "classes": table[0] - 1,
        "patch": patch,
        "width": width,
        "depth": depth,
        **heads,
    }, _named(held, NAMES) | {"positions.table": held["pos_embed"][0]}


def _first_copies(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the first block's embeddings alone; raises Refused where another block's are not the same."""
    found: dict[str, Tensor] = {}
    for name, weight in theirs.items():
        block, embeds, part = name.partition(".norm1.emb.")
        first = f"transformer_blocks.0.norm1.emb.{part}" if embeds else name
        if first not in theirs or first == name:
            found[name] = weight
        elif not torch.equal(found.get(first, theirs[first]), weight):
            raise Refused(
                f"{block} of this DiTTransformer2DModel embeds time and class in a way of its own: a DiT cannot"
            )
    return found


def _named(theirs: Mapping[str, Tensor], names: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Weights under a DiT's names; the convolution over patches is a linear layer here."""
    ours: dict[str, Tensor] = {}
    for name, weight in theirs.items():
        name = f".{name}"
        for old, new in names:
            name = name.replace(old, new)
        ours[name[1:]] = weight.flatten(1) if name == ".enter.weight" else weight
    ours.pop("pos_embed", None)
    return ours
