"""Training in several processes: gradients are averaged after each backward pass."""

from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn


def accelerator() -> Accelerator:
    """The processes and the device of this run, as torchrun or accelerate launch set them up.

    On a machine without an accelerator the processes must be told that they share the work of a CPU.
    """
    return Accelerator(cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()))


def average(accelerator: Accelerator, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Average the gradients, in place, and the loss over all processes, in one message; returns the loss."""
    if accelerator.num_processes == 1:
        return loss
    held = [p.grad for p in parameters if p.grad is not None]
    sizes = [1, *(gradient.numel() for gradient in held)]
    message: Any = torch.cat([loss.reshape(1), *(gradient.flatten() for gradient in held)])
    mean, *pieces = accelerator.reduce(message, "mean").split(sizes)  # pyright: ignore[reportAttributeAccessIssue]
    for gradient, piece in zip(held, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))
    return mean[0]
