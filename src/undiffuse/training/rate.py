"""The learning rate of every step, from the step alone."""

import math

from undiffuse.recipes.settings import Train


def rate(settings: Train, step: int) -> float:
    """lr min(1, step / warmup), then lr/2 (1 + cos(pi (step - warmup) / (steps + 1 - warmup))); step = 1 ... steps."""
    if step < settings.warmup:
        return settings.lr * step / settings.warmup
    if settings.decay == "constant":
        return settings.lr
    over = max(0, step - settings.warmup) / max(1, settings.steps + 1 - settings.warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, over)))
