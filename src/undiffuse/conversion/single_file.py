"""One file of latent diffusion's own program, such as Stable Diffusion 1's, looked into as a folder of diffusers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.conversion.ldm_names import CLIP, UNET, VAE, layers_of, unet_names, vae_names
from undiffuse.conversion.pipeline_source import CONFIG, PipelineSource
from undiffuse.core.errors import Refused
from undiffuse.storage.weight_files import WeightFiles, file_weights

PREFIX = {"unet": UNET, "vae": VAE, "text_encoder": CLIP}
NAMES = {"unet": unet_names, "vae": vae_names, "text_encoder": lambda names: {name: name for name in names}}
AVERAGED = "model_ema."  # before the names of averaged weights, which are written without dots
OTHERS = {  # what tells models that are not read
    "conditioner.": "Stable Diffusion XL, which has two text encoders",
    "cond_stage_model.model.": "Stable Diffusion 2, whose text encoder is OpenCLIP's",
    "x_embedder.": "a DiT, whose file has no autoencoder: networks.DiT.from_original reads it in Python",
}
SCHEDULER = {  # of Stable Diffusion 1 (arXiv:2112.10752's program)
    "_class_name": "DDIMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}
HEADS, HEAD = 8, 64  # of the U-Net; channels a head of CLIP, and of U-Nets with linear projections


class RenamedWeights(Mapping[str, Tensor]):
    """Weights under other names, each read when it is asked for; attention's 1 x 1 convolutions of an autoencoder
    become matrices.
    """

    def __init__(self, held: Mapping[str, Tensor], names: Mapping[str, str], flat: bool) -> None:
        self._held, self._names, self._flat = held, dict(names), flat

    def __getitem__(self, name: str) -> Tensor:
        weight = self._held[self._names[name]]
        return weight.flatten(1) if self._flat and ".attentions." in name and weight.ndim == 4 else weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class SingleFile(PipelineSource):
    """Configurations by the shapes of weights, and weights by diffusers' names; averaged ones where they are there.

    Its text encoder's tokenizer is in no such file: it lies in `tokenizer` of a folder beside it, with the file's name.
    Raises Refused for what is no U-Net with CLIP's text encoder and an autoencoder.
    """

    file: Path

    @property
    def folder(self) -> Path:  # type: ignore[override]
        return self.file.with_suffix("")

    def index(self) -> dict[str, Any]:
        for prefix, what in OTHERS.items():
            if any(name.startswith(prefix) for name in self._held):
                raise Refused(f"{self.file} is of {what}")
        for prefix in PREFIX.values():
            if not any(name.startswith(prefix) for name in self._held):
                raise Refused(f"{self.file} is of no program that is known here: no weight's name begins with {prefix}")
        return {"_class_name": "StableDiffusionPipeline"}

    def said(self, part: str, file: str = CONFIG) -> dict[str, Any]:
        self._refuse_missing(part)
        return {"unet": self._unet, "vae": self._vae, "text_encoder": self._text}[part]()

    def weights(self, part: str) -> Mapping[str, Tensor]:
        self._refuse_missing(part)
        prefix = PREFIX[part]
        own = [name.removeprefix(prefix) for name in self._held if name.startswith(prefix)]
        found = NAMES[part](own)
        if lost := [name for name in own if name not in found and not name.startswith("loss.")]:
            raise Refused(f"{self.file}: {prefix}{lost[0]} is a weight of no {part} that is known here")
        places = {theirs: self._averaged(prefix + name) for name, theirs in found.items()}
        return RenamedWeights(self._held, places, flat=part == "vae")

    def scheduler(self) -> dict[str, Any]:
        bars = self._held["alphas_cumprod"].double() if "alphas_cumprod" in self._held else None
        usual = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        if bars is None or torch.allclose(bars, (1 - usual).cumprod(0), rtol=1e-3):
            return SCHEDULER
        betas = (1 - bars / torch.cat([bars.new_ones(1), bars[:-1]])).tolist()
        return {**SCHEDULER, "trained_betas": betas, "num_train_timesteps": len(betas)}

    def has(self, part: str) -> bool:
        return part in PREFIX

    def has_config(self) -> bool:
        return False

    @cached_property
    def _held(self) -> WeightFiles:
        return file_weights(self.file)

    def _averaged(self, name: str) -> str:
        """The name of the averaged weight, where there is one."""
        found = AVERAGED + name.removeprefix("model.").replace(".", "")
        return found if found in self._held else name

    def _refuse_missing(self, part: str) -> None:
        if part not in PREFIX:
            raise Refused(f"{self.file} has no {part}: that is in no file of this kind")

    def _shapes(self, part: str) -> dict[str, tuple[int, ...]]:
        """The shapes of a part's weights, by their names in diffusers."""
        prefix = PREFIX[part]
        own = {
            name.removeprefix(prefix): tuple(like.shape)
            for name, like in self._held.like.items()
            if name.startswith(prefix)
        }
        return {theirs: own[name] for name, theirs in NAMES[part](own).items()}

    def _unet(self) -> dict[str, Any]:
        own = self._shapes("unet")
        levels = _count(own, "down_blocks.")
        layers = layers_of(name.removeprefix(UNET) for name in self._held if name.startswith(UNET))
        widths = [own[f"down_blocks.{i}.resnets.0.conv2.weight"][0] for i in range(levels)]
        reads = [f"down_blocks.{i}.attentions.0.norm.weight" in own for i in range(levels)]
        first = f"down_blocks.{reads.index(True)}.attentions.0." if any(reads) else ""
        if f"{first}transformer_blocks.0.attn2.to_k.weight" not in own:
            raise Refused(f"{self.file} holds a U-Net that reads no text, and only such are read from single files")
        linear = len(own[f"{first}proj_in.weight"]) == 2
        return {
            "_class_name": "UNet2DConditionModel",
            "sample_size": 64,
            "in_channels": own["conv_in.weight"][1],
            "out_channels": own["conv_out.weight"][0],
            "block_out_channels": widths,
            "layers_per_block": layers,
            "down_block_types": ["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in reads],
            "up_block_types": ["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(reads)],
            "transformer_layers_per_block": _count(own, f"{first}transformer_blocks."),
            "cross_attention_dim": own[f"{first}transformer_blocks.0.attn2.to_k.weight"][1],
            "attention_head_dim": [width // HEAD for width in widths] if linear else HEADS,
            "use_linear_projection": linear,
        }

    def _vae(self) -> dict[str, Any]:
        own = self._shapes("vae")
        levels, latents = _count(own, "encoder.down_blocks."), own["decoder.conv_in.weight"][1]
        attends = "encoder.mid_block.attentions.0.group_norm.weight" in own
        return {
            "_class_name": "AutoencoderKL",
            "in_channels": own["encoder.conv_in.weight"][1],
            "out_channels": own["decoder.conv_out.weight"][0],
            "block_out_channels": [own[f"encoder.down_blocks.{i}.resnets.0.conv2.weight"][0] for i in range(levels)],
            "layers_per_block": _count(own, "encoder.down_blocks.0.resnets."),
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "latent_channels": latents,
            "mid_block_add_attention": attends,
            "sample_size": 512,
            "scaling_factor": 0.18215,
        }

    def _text(self) -> dict[str, Any]:
        own = {name.removeprefix("text_model."): shape for name, shape in self._shapes("text_encoder").items()}
        symbols, width = own["embeddings.token_embedding.weight"]
        return {
            "architectures": ["CLIPTextModel"],
            "vocab_size": symbols,
            "hidden_size": width,
            "intermediate_size": own["encoder.layers.0.mlp.fc1.weight"][0],
            "num_hidden_layers": _count(own, "encoder.layers."),
            "num_attention_heads": max(width // HEAD, 1),
            "max_position_embeddings": own["embeddings.position_embedding.weight"][0],
            "hidden_act": "quick_gelu",
        }


def _count(names: Mapping[str, Any], prefix: str) -> int:
    """How many numbers follow a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)})
