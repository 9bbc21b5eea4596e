"""The fields of a recipe's [init] table: the run that a training starts from, and how."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from undiffuse.core import registry
from undiffuse.core.arguments import SEEDS
from undiffuse.core.errors import Refused

EXAMPLE = {"lora": "rank = 8", "prior": "count = 64"}


@dataclass(frozen=True)
class LoRA:
    """What is trained beside frozen weights: W becomes W + (alpha / rank) B A.

    rank: of B A. alpha: default the rank. targets: "attention", its projections; "all", every linear layer and
    convolution with a rank of at least this; or ends of their names. Raises Refused for values that make no sense.
    """

    rank: int = 8
    alpha: float | None = None
    targets: Literal["attention", "all"] | tuple[str, ...] = "attention"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise Refused(f"init.lora.rank must be at least 1, not {self.rank}")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise Refused(f"init.lora.alpha must be above 0, not {self.alpha:g}")
        if not self.targets:
            raise Refused("init.lora.targets names no layer: 'attention', 'all', or ends of their names")


@dataclass(frozen=True)
class Prior:
    """Samples of the base among the data that it is fine-tuned on, so that it keeps what it knew: prior preservation.

    count: how many, drawn once, as the base's recipe says. share: of the items that training sees. conditions: what
    they are of, by name: a value for all of them, or several in turn. seed: of the samples.
    Source: arXiv:2208.12242, sec. 3.3. Raises Refused for values that make no sense.
    """

    count: int = 64
    share: float = 0.5
    conditions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise Refused(f"init.prior.count must be at least 1, not {self.count}")
        if not 0 < self.share < 1:
            raise Refused(f"init.prior.share is a share of the items between 0 and 1, not {self.share:g}")
        if not 0 <= self.seed < SEEDS:
            raise Refused(f"init.prior.seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True)
class Init:
    """Where the weights start.

    run: the folder of a run whose weights are taken over, as far as they fit. lora: the fields of `LoRA`: its weights
    are frozen, and products of low rank are trained beside them. prior: the fields of `Prior`: samples of the run
    itself are a share of the data.
    """

    run: str = ""
    lora: LoRA | None = None
    prior: Prior | None = None

    def __post_init__(self) -> None:
        if not self.run:
            raise Refused("init needs run: the folder of the run whose weights are taken over")

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Self:
        """The [init] table; raises Refused, by the field's name, for other fields and values that do not fit."""
        given, parts = dict(table), {}
        for name, kind in PARTS.items():
            if name in given:
                fields = given.pop(name)
                if not isinstance(fields, Mapping):
                    raise Refused(f"init.{name} is a table, as init.{name} = {{ {EXAMPLE[name]} }}, not {fields!r}")
                parts[name] = kind(**registry.check(kind, fields, owner=f"init.{name}"))
        return cls(**registry.check(cls, given, owner="init"), **parts)


PARTS: dict[str, type[Any]] = {"lora": LoRA, "prior": Prior}  # the tables in [init]
