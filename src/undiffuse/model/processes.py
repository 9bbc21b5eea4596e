"""What a recipe's [process] table stands for: how data is destroyed, and what kind of data that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from undiffuse.codecs.codec import Codec
from undiffuse.core import registry
from undiffuse.core.categorical import Categorical, mask, uniform
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.gaussian import Gaussian
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process import Process
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule

GAUSSIAN, CATEGORICAL = "gaussian", "categorical"
CODEC = "tokens"  # the only codec of tokens; all others are for values


def process(table: Mapping[str, Any], schedule: Schedule, codec: Codec | None) -> Process:
    """The process of a [process] table, Gaussian if it is empty, on a schedule.

    codec: what was fitted to the data, which knows the vocabulary of tokens; None: not known yet, which is enough to
    see whether the table makes sense. Raises Refused for an unknown process or field, or values that make no sense.
    """
    name = kind(table)
    fields = {key: value for key, value in table.items() if key != "name"}
    choice = PROCESSES[name]
    return choice(**registry.check(choice, fields, owner=f"process {name!r}")).on(schedule, codec)


def kind(table: Mapping[str, Any]) -> str:
    """The name of the process in a [process] table; raises Refused for an unknown one."""
    name = str(table.get("name", GAUSSIAN))
    if name not in PROCESSES:
        raise unknown("processes", name, PROCESSES)
    return name


def check(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises Refused where a recipe's process, codec and scales are not all for values or all for tokens."""
    codec = str(tables["codec"].get("name"))
    tokens = kind(tables.get("process", {})) == CATEGORICAL
    if tokens and codec != CODEC:
        raise Refused(
            f"process {CATEGORICAL!r} is for tokens and codec {codec!r} for values: write codec.name = {CODEC!r}"
        )
    if not tokens and codec == CODEC:
        raise Refused(f"codec {CODEC!r} needs a process for tokens: write process.name = {CATEGORICAL!r}")
    if tokens and "scales" in tables:
        raise Refused("[scales] say how a network predicts values; tokens have probabilities: leave the table out")
    if not tokens and "scales" not in tables:
        raise Refused("the recipe has no table [scales], which says what a network that predicts values predicts")


def check_sampler(dynamics: Process, sampler: Sampler | None) -> None:
    """Raises Refused, in the sampler's own words, for one that tokens cannot take: it is tried on a single token."""
    if sampler is None or not isinstance(dynamics, Categorical):
        return
    one = TokenOracle(dynamics, torch.zeros(1, 1, dtype=torch.int64), [1.0])
    start, times = dynamics.prior((1, 1)).sample(Random(0)), torch.tensor([1.0, 0.5], dtype=torch.float64)
    sampler.step(one, start, times[0], times[1], random=Random(0))


@dataclass(frozen=True)
class Values:
    """Values, destroyed by normal noise: there is nothing to choose."""

    def on(self, schedule: Schedule, codec: Codec | None) -> Process:
        """The Gaussian process."""
        return Gaussian(schedule)


@dataclass(frozen=True)
class Symbols:
    """Tokens, replaced by draws. noise: what from: "uniform" (any symbol), "mask" (a token behind the vocabulary),
    "frequencies" (as often as in the data), or a probability for each symbol.
    """

    noise: Literal["uniform", "mask", "frequencies"] | tuple[float, ...] = "uniform"

    def on(self, schedule: Schedule, codec: Codec | None) -> Process:
        """The categorical process over the codec's vocabulary; without a codec over two symbols."""
        size = int(getattr(codec, "vocabulary", 0)) or 2
        if not isinstance(self.noise, str):
            if codec is not None and len(self.noise) != size:
                raise Refused(
                    f"process.noise has {len(self.noise)} probabilities, and the data's vocabulary has {size} symbols"
                )
            return Categorical(schedule, self.noise)
        made = {"uniform": uniform(size), "mask": mask(size + 1)}
        return Categorical(schedule, made.get(self.noise) or getattr(codec, "frequencies", uniform(size)))


PROCESSES: dict[str, type[Values] | type[Symbols]] = {GAUSSIAN: Values, CATEGORICAL: Symbols}
