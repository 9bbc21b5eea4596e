"""LoRA as files of PEFT, diffusers and kohya: products of low rank by the names of layers, read and written."""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from undiffuse.core.errors import Refused, some
from undiffuse.networks.lora import LowRank
from undiffuse.progress import LOGGER
from undiffuse.storage.files import finite, read_json, write_json, write_tensors
from undiffuse.storage.strict_json import parse_json
from undiffuse.storage.tensor_file import held

CONFIG, PEFT, DIFFUSERS = "adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"
METADATA = "lora_adapter_metadata"  # of a file of diffusers: its configuration
PICKLED = (".bin", ".ckpt", ".pt", ".pth")
MODEL = "base_model.model."  # before a layer's name in a file of PEFT
KOHYA = "lora_unet_"  # the same of kohya, which has _ in the place of the dots
PREFIXES = (MODEL, "unet.", "transformer.")
TEXT = ("text_encoder.", "text_encoder_2.", "lora_te_", "lora_te1_", "lora_te2_")
FACTORS = re.compile(r"\.(lora_A|lora_B|lora_down|lora_up)(\.[\w-]+)?\.weight$|\.(alpha)$")
PLAIN: Mapping[str, tuple[Any, ...]] = {  # fields of PEFT's configuration, and the values that change nothing
    "peft_type": ("LORA",),
    "use_dora": (False,),
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "alpha_pattern": ({},),
    "modules_to_save": ([],),
    "layer_replication": ([],),
}
SHOWN = 4
# names of layers in diffusers, and in latent diffusion's own program
LEVEL = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
RESIDUAL = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
}


class Factors(NamedTuple):
    """A layer's A and B, and alpha; None: the rank."""

    a: Tensor
    b: Tensor
    alpha: float | None


def is_file(path: Path) -> bool:
    """Whether there is a file of another tool, or a folder of one."""
    return path.is_file() or any((path / name).is_file() for name in (CONFIG, DIFFUSERS))


def read(path: Path) -> dict[str, LowRank]:
    """A and B of each layer, by its name in the file, or as kohya writes it, without what stands before it.

    path: a folder of PEFT, one of diffusers, or a file of them or of kohya. What is for a text encoder is left out, and
    said. Raises Refused, by the names, for keys and settings with another meaning, and for pickled files.
    """
    config: Mapping[str, Any] = {}
    if (path / CONFIG).is_file():
        config, file = read_json(path / CONFIG, "LoRA"), path / PEFT
    else:
        file = path / DIFFUSERS if path.is_dir() else path
    if file.suffix in PICKLED or (not file.exists() and any(file.with_suffix(end).exists() for end in PICKLED)):
        raise Refused(f"{file}: pickled files run code when they are read: save it as .safetensors")
    with held(file, "LoRA") as found:
        finite(tensors := dict(found), f"LoRA {file}")
        said = parse_json(str(found.metadata.get(METADATA, "{}")), f"LoRA {file}")
    config = config or {name.partition(".")[2]: value for name, value in said.items() if name.startswith("unet.")}
    _refuse(config, f"LoRA {file}")
    text = [name for name in tensors if name.startswith(TEXT)]
    if text:
        LOGGER.warning(
            "LoRA %s: %d of its %d tensors are for a text encoder, which stays as it is: %s",
            *(file, len(text), len(tensors), some(sorted(text), SHOWN)),
        )
    layers = _layers({name: tensor for name, tensor in tensors.items() if name not in text}, f"LoRA {file}")
    return {name: _product(each, config) for name, each in layers.items()}


def write(folder: Path, own: Mapping[str, LowRank], theirs: Mapping[str, LowRank], alpha: float) -> list[str]:
    """Write a LoRA as PEFT does, and as diffusers does where it has names for the layers; returns the files' names.

    own: by the names of layers in the module; theirs: by those of diffusers, {} where it has none. alpha: of all.
    """
    layers = theirs or own
    ranks = {len(each.a) for each in layers.values()}
    config = {
        "peft_type": "LORA",
        "r": max(ranks),
        "lora_alpha": alpha,
        "target_modules": sorted(layers),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "base_model_name_or_path": None,
        "task_type": None,
    }
    write_json(folder / CONFIG, config)
    write_tensors(folder / PEFT, _named(layers, MODEL))
    if not theirs:
        return [CONFIG, PEFT]
    folded = {name: LowRank(each.a, each.b * each.scale, 1.0) for name, each in theirs.items()}  # its alpha is the rank
    write_tensors(folder / DIFFUSERS, _named(folded, "unet."))
    return [CONFIG, PEFT, DIFFUSERS]


def kohya(name: str) -> str:
    """What kohya calls a layer."""
    return name.replace(".", "_")


def original(names: Collection[str]) -> dict[str, str]:
    """The names of a U-Net's layers in latent diffusion's own program, each with that of diffusers.

    Layer l of level b is block 1 + b (L + 1) + l going down, and b (L + 1) + l going up, with L layers a level.
    """
    each = 1 + len({name.split(".")[3] for name in names if name.startswith("down_blocks.0.resnets.")})
    found = {ours: theirs for theirs, ours in ENDS.items() if theirs in names}
    for name in names:
        if middle := MIDDLE.fullmatch(name):
            kind, number, rest = middle[1], int(middle[2]), middle[3]
            place = 1 if kind == "attentions" else 2 * number
            found[f"middle_block.{place}.{RESIDUAL.get(rest, rest)}"] = name
        elif level := LEVEL.fullmatch(name):
            way, block, kind, layer, rest = level[1], int(level[2]), level[3], int(level[4]), level[5]
            first = block * each + (way == "down")
            side = "input" if way == "down" else "output"
            place = 2 if any(other.startswith(f"up_blocks.{block}.attentions.") for other in names) else 1
            own = {
                "resnets": f"{first + layer}.0.{RESIDUAL.get(rest, rest)}",
                "attentions": f"{first + layer}.1.{rest}",
                "downsamplers": f"{first + each - 1}.0.op",
                "upsamplers": f"{first + each - 1}.{place}.conv",
            }
            found[f"{side}_blocks.{own[kind]}"] = name
    return found


def _named(layers: Mapping[str, LowRank], prefix: str) -> dict[str, Tensor]:
    pairs = {name: {"lora_A": each.a, "lora_B": each.b} for name, each in layers.items()}
    return {
        f"{prefix}{name}.{which}.weight": value.clone()  # queries, keys and values share an A
        for name, pair in pairs.items()
        for which, value in pair.items()
    }


def _refuse(config: Mapping[str, Any], what: str) -> None:
    for name, values in PLAIN.items():
        if name in config and config[name] is not None and config[name] not in values:
            raise Refused(f"{what} has {name} = {config[name]!r}, which is read as {values[0]!r} only")


def _layers(tensors: Mapping[str, Tensor], what: str) -> dict[str, Factors]:
    """The tensors of each layer; raises Refused for keys that are no A, B or alpha, and for those without the other."""
    parts: dict[str, dict[str, Tensor]] = {}
    strange: list[str] = []
    for key, tensor in tensors.items():
        if (match := FACTORS.search(key)) is None:
            strange.append(key)
            continue
        kind = {"lora_A": "a", "lora_down": "a", "lora_B": "b", "lora_up": "b"}.get(match[1] or "", "alpha")
        parts.setdefault(_layer(key[: match.start()]), {})[kind] = tensor
    if strange:
        raise Refused(
            f"{what} holds {len(strange)} tensors that are no A, B or alpha of a LoRA: "
            f"{some(sorted(strange), SHOWN)}; read are lora_A and lora_B (PEFT, diffusers), "
            "lora_down, lora_up and alpha (kohya)"
        )
    for name, each in parts.items():
        if missing := {"a", "b"} - each.keys():
            raise Refused(f"{what} holds no {' and '.join(sorted(missing)).upper()} of layer {name!r}")
        if each["a"].ndim < 2 or each["b"].ndim < 2 or each["b"].flatten(1).shape[1] != len(each["a"]):
            raise Refused(f"{what}: A {tuple(each['a'].shape)} and B {tuple(each['b'].shape)} of {name!r} do not fit")
    if not parts:
        raise Refused(f"{what} holds no LoRA")
    alphas = {name: float(each["alpha"]) if "alpha" in each else None for name, each in parts.items()}
    return {name: Factors(each["a"], each["b"], alphas[name]) for name, each in parts.items()}


def _layer(name: str) -> str:
    prefix = next((each for each in (*PREFIXES, KOHYA) if name.startswith(each)), "")
    return name.removeprefix(prefix)


def _product(found: Factors, config: Mapping[str, Any]) -> LowRank:
    rank = len(found.a)
    alpha = found.alpha if found.alpha is not None else float(config.get("lora_alpha") or rank)
    return LowRank(found.a, found.b, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))
