"""Tiny pipelines of diffusers as folders, made of random weights."""

import json
from pathlib import Path
from typing import Any

import torch


def index(folder: Path, name: str, **parts: list[str]) -> Path:
    """The folder with a model_index.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name, **parts}), encoding="utf-8")
    return folder


def ddim(folder: Path, **scheduler: Any) -> Path:
    """A DDIMPipeline of 8 x 8 pixels."""
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    torch.manual_seed(0)
    levels = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    unet = UNet2DModel(8, block_out_channels=[8, 16], norm_num_groups=4, layers_per_block=1, **levels)  # type: ignore[arg-type]
    unet.save_pretrained(folder / "unet")
    DDIMScheduler(**{"clip_sample": False, **scheduler}).save_pretrained(folder / "scheduler")  # type: ignore[arg-type]
    return index(folder, "DDIMPipeline", unet=["diffusers", "UNet2DModel"], scheduler=["diffusers", "DDIMScheduler"])


WORDS = ("t h", "th e</w>", "c a", "ca t</w>", "r e", "re d</w>")  # what tiny tokenizers merge


def tokenizer(folder: Path, length: int = 8, pad: str = "<|endoftext|>") -> dict[str, int]:
    """A tokenizer of CLIP's kind with few merges; returns its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    bytes_ = [chr(i) for i in range(ord("!"), ord("~") + 1)]
    symbols = [*bytes_, *(f"{each}</w>" for each in bytes_), *(word.replace(" ", "") for word in WORDS)]
    vocabulary = {symbol: i for i, symbol in enumerate([*symbols, "<|startoftext|>", "<|endoftext|>"])}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    said = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, **special, "pad_token": pad}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *WORDS, ""]), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    return vocabulary


CLIP = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}


def text_encoder(folder: Path, vocabulary: int, length: int = 8, prefix: str = "text_model.") -> dict[str, Any]:
    """A CLIPTextModel with weights 0.2 sin(0.7 k) in the order of their names, norms plus one; returns its config."""
    width = CLIP["hidden_size"]
    shapes = {"embeddings.token_embedding.weight": (vocabulary, width)}
    shapes |= {"embeddings.position_embedding.weight": (length, width), **_layers(CLIP)}
    shapes |= {"final_layer_norm.weight": (width,), "final_layer_norm.bias": (width,)}
    _waves(folder, shapes, prefix)
    config = {**CLIP, "vocab_size": vocabulary, "max_position_embeddings": length, "hidden_act": "quick_gelu"}
    config |= {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "eos_token_id": vocabulary - 1}
    config |= {"bos_token_id": vocabulary - 2, "pad_token_id": vocabulary - 1}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return config


def _layers(c: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """The shapes of layers of attention by their names."""
    width, hidden, shapes = c["hidden_size"], c["intermediate_size"], dict[str, tuple[int, ...]]()
    for i in range(c["num_hidden_layers"]):
        layer = f"encoder.layers.{i}"
        for name, out, given in (
            *((f"self_attn.{p}_proj", width, width) for p in ("q", "k", "v", "out")),
            *(("mlp.fc1", hidden, width), ("mlp.fc2", width, hidden)),
        ):
            shapes |= {f"{layer}.{name}.weight": (out, given), f"{layer}.{name}.bias": (out,)}
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}.{norm}.weight": (width,), f"{layer}.{norm}.bias": (width,)}
    return shapes


def _waves(folder: Path, shapes: dict[str, tuple[int, ...]], prefix: str = "") -> None:
    """Write weights 0.2 sin(0.7 k) of these shapes in the order of their names, norms plus one."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights, k = {}, 0
    for name in sorted(shapes):
        count = torch.Size(shapes[name]).numel()
        values = 0.2 * torch.sin(0.7 * torch.arange(k, k + count, dtype=torch.float64))
        weights[prefix + name] = (values + ("norm" in name and "weight" in name)).float().view(shapes[name])
        k += count
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4}
VISION |= {"image_size": 8, "patch_size": 4}


def clip_model(folder: Path, width: int = 6, texts: bool = True) -> Path:
    """A CLIPModel of images of 8 x 8 with such weights and its tokenizer; without texts its
    CLIPVisionModelWithProjection alone.
    """
    wide, patch = VISION["hidden_size"], VISION["patch_size"]
    seen = {"embeddings.class_embedding": (wide,), "embeddings.patch_embedding.weight": (wide, 3, patch, patch)}
    seen |= {"embeddings.position_embedding.weight": ((VISION["image_size"] // patch) ** 2 + 1, wide)}
    seen |= _layers(VISION)
    seen |= {f"{name}.{kind}": (wide,) for name in ("pre_layrnorm", "post_layernorm") for kind in ("weight", "bias")}
    shapes = {f"vision_model.{name}": shape for name, shape in seen.items()}
    shapes |= {"visual_projection.weight": (width, wide)}
    config: dict[str, Any] = {**VISION, "projection_dim": width, "architectures": ["CLIPVisionModelWithProjection"]}
    if texts:
        vocabulary, inside = len(tokenizer(folder)), CLIP["hidden_size"]
        read = {"embeddings.token_embedding.weight": (vocabulary, inside)}
        read |= {"embeddings.position_embedding.weight": (8, inside), **_layers(CLIP)}
        read |= {"final_layer_norm.weight": (inside,), "final_layer_norm.bias": (inside,)}
        shapes |= {f"text_model.{name}": shape for name, shape in read.items()}
        shapes |= {"text_projection.weight": (width, inside), "logit_scale": ()}
        own = {"vocab_size": vocabulary, "max_position_embeddings": 8, "eos_token_id": vocabulary - 1}
        config = {"architectures": ["CLIPModel"], "projection_dim": width, "vision_config": VISION}
        config |= {"text_config": {**CLIP, **own, "model_type": "clip_text_model"}}
    _waves(folder, shapes)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def stable_diffusion(folder: Path, unet: dict[str, Any] | None = None, **scheduler: Any) -> Path:
    """A StableDiffusionPipeline of pictures of 16 x 16, whose latents are 4 x 8 x 8."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    torch.manual_seed(0)
    levels = {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "norm_num_groups": 4,
    }
    own: Any = {**levels, "sample_size": 8, "cross_attention_dim": CLIP["hidden_size"], "attention_head_dim": 2}
    model: Any = UNet2DConditionModel(**{**own, **(unet or {})})
    model.save_pretrained(folder / "unet")
    both: Any = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    both["block_out_channels"] = [8, 8]
    vae: Any = AutoencoderKL(**both, norm_num_groups=4, sample_size=16)
    vae.save_pretrained(folder / "vae")
    usual = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
    noise: Any = DDIMScheduler(**{**usual, "steps_offset": 1, "set_alpha_to_one": False, **scheduler})  # type: ignore[arg-type]
    noise.save_pretrained(folder / "scheduler")
    vocabulary = tokenizer(folder / "tokenizer")
    text_encoder(folder / "text_encoder", len(vocabulary))
    return index(
        folder,
        "StableDiffusionPipeline",
        vae=["diffusers", "AutoencoderKL"],
        text_encoder=["transformers", "CLIPTextModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        unet=["diffusers", "UNet2DConditionModel"],
        scheduler=["diffusers", "DDIMScheduler"],
    )
