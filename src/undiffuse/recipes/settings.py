"""The fields of a recipe's [train] table."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from undiffuse.core.arguments import SEEDS
from undiffuse.core.errors import Refused
from undiffuse.networks.precision import ALIASES, NAMES

RAMPS = ("none", "tenth", "power")
EMA_STD = 0.1  # length of the average as a share of the training: arXiv:2312.02696, sec. 3.1


@dataclass(frozen=True)
class Train:
    """How a recipe is trained: a linear warm-up, a decay, clipped gradients and averaged weights.

    steps: optimiser steps. batch: samples a step. lr: the highest learning rate, reached after `warmup` steps.
    decay: "cosine" falls to 0 at the last step, "constant" stays, "inverse_sqrt" falls as 1/sqrt(step) from the step
    `decay_from` on, whatever the last step is. clip: largest norm of the gradient, 0 = any.
    ema: gamma of the power-function average of the weights (default 6.94, a length of a tenth of the training);
    ema_decay: a constant decay instead (one of the two). ema_ramp: how that decay is reached after n steps, so that the
    first weights are forgotten: "none", "tenth" with min(decay, (1 + n)/(10 + n)), or "power" with
    min(decay, 1 - max(1, n - 1)^(-3/4)).
    snapshots: how many times two such averages are kept, from which `undiffuse tune RUN ema` makes one of any length.
    accumulate: parts in which a batch is computed one after the other, for batches that do not fit the memory.
    precision: "auto", "float32" or "bfloat16". compile: compile the network first (needs a C++ compiler; slow to
    start).
    flip: mirror items left to right (true), or "vertical" or "both", each time with chance 1/2. crop: the side of a
    random square that a step sees of each picture, for networks that take any size; 0: all of it. held_out: share of
    the data that validates and is never trained on.
    *_every: in steps, 0 = never (log_every: at least 1). keep: checkpoints that stay on disk, the newest ones.
    previews: samples in a preview.
    Raises Refused for values that make no sense.
    """

    steps: int
    batch: int = 128
    lr: float = 1e-3
    warmup: int = 100
    decay: Literal["cosine", "constant", "inverse_sqrt"] = "cosine"
    decay_from: int = 0
    clip: float = 1.0
    ema: float | None = None
    ema_decay: float | None = None
    ema_ramp: Literal["none", "tenth", "power"] = "none"
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    accumulate: int = 1
    flip: bool | Literal["horizontal", "vertical", "both"] = False
    crop: int = 0
    held_out: float = 0.2
    log_every: int = 10
    checkpoint_every: int = 500
    preview_every: int = 500
    validate_every: int = 250
    keep: int = 2
    snapshots: int = 16
    previews: int = 20

    def __post_init__(self) -> None:
        self._require(("steps", "batch", "accumulate", "log_every", "keep", "previews"), lambda v: v >= 1, "at least 1")
        self._require(
            ("warmup", "decay_from", "crop", "checkpoint_every", "preview_every", "validate_every", "snapshots"),
            lambda v: v >= 0,
            "0 or more",
        )
        self._require(("lr",), lambda v: 0 < v < math.inf, "above 0")
        self._require(("clip",), lambda v: 0 <= v < math.inf, "0 or more")
        self._require(("held_out",), lambda v: 0 <= v < 1, "0 or more and below 1")
        self._require(("seed",), lambda v: 0 <= v < SEEDS, "0 or more")
        self._require(("precision",), lambda v: ALIASES.get(v, v) in {"auto", *NAMES}, f"auto or {' or '.join(NAMES)}")
        self._require(("ema",), lambda v: v is None or 0 <= v < math.inf, "0 or more")
        self._require(("ema_decay",), lambda v: v is None or 0 <= v < 1, "0 or more and below 1")
        self._require(("ema_ramp",), lambda v: v in RAMPS, f"one of {', '.join(RAMPS)}")
        if (self.decay == "inverse_sqrt") != (self.decay_from > 0):
            raise Refused(
                "train.decay = 'inverse_sqrt' and train.decay_from, the step from which it falls, go together"
            )
        if self.ema_ramp != "none" and self.ema_decay is None:
            raise Refused("train.ema_ramp leads up to a constant decay: give train.ema_decay, 0.9999 for example")
        if self.ema is not None and self.ema_decay is not None:
            raise Refused(
                "train has both ema (gamma of the power function) and ema_decay (a constant decay): one is needed"
            )

    def _require(self, fields: tuple[str, ...], holds: Callable[[Any], bool], must: str) -> None:
        for field in fields:
            if not holds(getattr(self, field)):
                raise Refused(f"train.{field} must be {must}, not {getattr(self, field)!r}")
