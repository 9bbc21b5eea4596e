"""Layers are made in float32, whatever PyTorch's default dtype is."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def in_float32() -> Generator[None]:
    """Inside, modules are made in float32."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)
