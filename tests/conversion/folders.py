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
