"""The learning rate of every step, from the step alone."""

import math
from collections.abc import Sequence
from dataclasses import replace

from undiffuse.recipes.settings import Train


def rate(settings: Train, step: int, phases: Sequence[int] = ()) -> float:
    """lr min(1, step / warmup), then lr/2 (1 + cos(pi (step - warmup) / (steps + 1 - warmup))); step = 1 ... steps.

    With decay "inverse_sqrt" it is lr / sqrt(max(step / decay_from, 1)) after the warm-up (arXiv:2312.02696).
    phases: the last step of each; in every phase the rate is that of a training of so many steps.
    """
    if phases:
        begin = max((end for end in phases if end < step), default=0)
        end = min((end for end in phases if end >= step), default=settings.steps)
        return rate(replace(settings, steps=max(1, end - begin)), step - begin)
    if step < settings.warmup:
        return settings.lr * step / settings.warmup
    if settings.decay == "constant":
        return settings.lr
    if settings.decay == "inverse_sqrt":
        return settings.lr / math.sqrt(max(step / settings.decay_from, 1.0))
    over = max(0, step - settings.warmup) / max(1, settings.steps + 1 - settings.warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, over)))
