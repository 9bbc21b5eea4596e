"""Diagnoses diverged training: why a loss is not a number."""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.recipes.command import command
from undiffuse.recipes.settings import Train

GROWTH = 10.0


class Diverged(Refused):
    """The loss stopped being a number."""


class Collapsed(Refused):
    """The embeddings have collapsed to one point."""


def diagnose(
    module: nn.Module,
    x_0: Tensor,
    norms: Sequence[float],
    step: int,
    settings: Train,
    half: bool,
    saved: Path | None,
) -> str:
    """The likely cause and what to do about it, in a sentence.

    x_0: the batch as the network saw it. norms: of the gradients of the steps before. half: whether the network
    computed in bfloat16. saved: the run folder, where it has a checkpoint.
    """
    if not bool(torch.isfinite(x_0).all()):
        return "The data of this batch hold numbers that are infinite or not numbers: look with undiffuse check-data"
    finite = [norm for norm in norms if math.isfinite(norm)]
    usual = sorted(finite)[len(finite) // 2] if finite else 0.0
    lower = f"train again{' into another folder' * (saved is not None)} with --set train.lr={settings.lr / 4:g}"
    if step <= 10 * max(settings.warmup, 10):
        lower += f" or --set train.warmup={4 * max(settings.warmup, 25)}"
    if finite and finite[-1] > GROWTH * usual > 0:
        return f"The gradient grew to {finite[-1]:.3g}, {finite[-1] / usual:.0f} times its median, just before: {lower}"
    broken = next((name for name, p in module.named_parameters() if not bool(torch.isfinite(p).all())), None)
    if broken is not None:
        return f"The weights {broken!r} are not numbers any more, so that an earlier step was too large: {lower}"
    if half:
        again = f"go on with: {command()} train {shlex.quote(str(saved))} --resume" if saved else "train again with"
        exact = f"{again} --set train.precision=float32"
        return f"The numbers may have left bfloat16's range or precision: {exact}\nif that does not help, {lower}"
    return f"Data and weights are finite, so the objective has no value at some noise level: {lower}"
