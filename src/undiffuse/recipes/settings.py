"""The fields of a recipe's [train] and [conditions.*] tables."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from undiffuse.core.arguments import SEEDS
from undiffuse.core.errors import Refused
from undiffuse.networks.precision import ALIASES, NAMES

RAMPS = ("none", "tenth", "power")
AXES = {"label": (), "vector": (1,), "text": (1, 2), "image": (2, 3, 4)}  # of one value of each kind of condition
DTYPES = ("uint8", "uint16", "int16", "float32")  # of images
LONGEST = 4096  # tokens of a caption
EMA_STD = 0.1  # length of the average as a share of the training: arXiv:2312.02696, sec. 3.1


@dataclass(frozen=True)
class Train:
    """How a recipe is trained: a linear warm-up, a cosine decay, clipped gradients and averaged weights.

    steps: optimiser steps. batch: samples a step. lr: the highest learning rate, reached after `warmup` steps.
    decay: "cosine" falls to 0 at the last step, "constant" stays. clip: largest norm of the gradient, 0 = any.
    ema: gamma of the power-function average of the weights (default 6.94, a length of a tenth of the training);
    ema_decay: a constant decay instead (one of the two). ema_ramp: how that decay is reached after n steps, so that the
    first weights are forgotten: "none", "tenth" with min(decay, (1 + n)/(10 + n)), or "power" with
    min(decay, 1 - max(1, n - 1)^(-3/4)).
    snapshots: how many times two such averages are kept, from which `undiffuse tune RUN ema` makes one of any length.
    accumulate: parts in which a batch is computed one after the other, for batches that do not fit the memory.
    precision: "auto", "float32" or "bfloat16". compile: compile the network first (needs a C++ compiler; slow to
    start).
    flip: mirror items left to right (true), or "vertical" or "both", each time with chance 1/2. held_out: share of the
    data that validates and is never trained on.
    *_every: in steps, 0 = never (log_every: at least 1). keep: checkpoints that stay on disk, the newest ones.
    previews: samples in a preview.
    Raises Refused for values that make no sense.
    """

    steps: int
    batch: int = 128
    lr: float = 1e-3
    warmup: int = 100
    decay: Literal["cosine", "constant"] = "cosine"
    clip: float = 1.0
    ema: float | None = None
    ema_decay: float | None = None
    ema_ramp: Literal["none", "tenth", "power"] = "none"
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    accumulate: int = 1
    flip: bool | Literal["horizontal", "vertical", "both"] = False
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
            ("warmup", "checkpoint_every", "preview_every", "validate_every", "snapshots"),
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


@dataclass(frozen=True)
class Init:
    """Where the weights start. run: the folder of a run whose weights are taken over, as far as they fit."""

    run: str = ""

    def __post_init__(self) -> None:
        if not self.run:
            raise Refused("init needs run: the folder of the run whose weights are taken over")


@dataclass(frozen=True)
class Condition:
    """A condition that the network is told. drop: how often it is hidden in training, which guidance needs.

    kind: "label", a class; "vector", numbers; "text", a caption; "image", a picture, mask or map of any size.
    encoder: of captions: "bytes", a small one that is trained along; "minilm"; or the folder or name of a Hugging Face
    model. length: at most so many bytes or tokens of a caption. of: of an image, how it is made of the item itself:
    "superresolve:4", "blur:1.5", "grey", "layout:4:4" or "hole:12"; else the data have it. shape: of one value; the
    data say it. mean, std: of each number of a vector in the training data, by which it is standardised; of an image of
    16 bit one each, which bring it to [-1, 1]. dtype: of an image in the training data.
    """

    drop: float = 0.0
    kind: Literal["label", "vector", "text", "image"] = "label"
    encoder: str = "bytes"
    length: int = 64
    of: str = ""
    shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dtype: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise Refused(f"drop is the chance that a condition is hidden: from 0 to 1, not {self.drop:g}")
        if not 1 <= self.length <= LONGEST:
            raise Refused(f"length is the most tokens of a caption: from 1 to {LONGEST}, not {self.length}")
        if self.of and self.kind != "image":
            raise Refused(f"of = {self.of!r} makes an image of the item, and the condition's kind is {self.kind!r}")
        if self.shape and (
            len(self.shape) not in AXES[self.kind] or min(self.shape) < 1 or math.prod(self.shape) > 2**24
        ):
            raise Refused(f"a condition of kind {self.kind!r} cannot have the shape {str(self.shape)[:80]}")
        if self.dtype not in ("", *DTYPES):
            raise Refused(f"a condition is of {', '.join(DTYPES)}, not {self.dtype[:40]!r}")
        moments = self.mean + self.std
        if moments and (
            not (self.shape if self.kind == "vector" else (1,)) == (len(self.mean),) == (len(self.std),)
            or not all(map(math.isfinite, moments))
            or min(self.std) <= 0
        ):
            raise Refused("a condition has a mean and a std above 0 for each of its numbers, or none")

    def written(self) -> dict[str, Any]:
        """The fields that a recipe says of a condition of this kind."""
        text = {"encoder": self.encoder, "length": self.length} if self.kind == "text" else {}
        return {"kind": self.kind, "drop": self.drop, **text, **({"of": self.of} if self.of else {})}

    def described(self) -> dict[str, Any]:
        """The same with what the data said of it, in JSON's types."""
        said = {"shape": self.shape, "mean": self.mean, "std": self.std}
        found: dict[str, Any] = {name: list(value) for name, value in said.items() if value}
        return self.written() | found | ({"dtype": self.dtype} if self.dtype else {})
