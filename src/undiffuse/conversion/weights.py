"""The weights of a part of a pipeline, as diffusers and transformers write them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.storage.tensor_file import refusing

NAMES = ("diffusion_pytorch_model", "model", "pytorch_model")


def read(folder: Path) -> Mapping[str, Tensor]:
    """The tensors in a part's folder by their names; raises Refused where there are none."""
    for name in NAMES:
        file = folder / f"{name}.safetensors"
        if file.is_file():
            with refusing(file, "weights"):
                return load_file(file)
        file = folder / f"{name}.bin"
        if file.is_file():
            with refusing(file, "weights"):
                return torch.load(file, "cpu", weights_only=True)
    raise Refused(f"{folder} holds no weights: none of {', '.join(f'{name}.safetensors' for name in NAMES)}")
