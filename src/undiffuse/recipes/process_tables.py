"""What a recipe's [process] table stands for: how data is destroyed, and what kind of data that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec
from undiffuse.core import registry
from undiffuse.core.errors import Refused, near, unknown
from undiffuse.core.heads.rows import NUMBERS, Rows, category
from undiffuse.core.process import transition_matrices
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.process import Process
from undiffuse.core.process.product import Product
from undiffuse.core.process.transitions import Transitions
from undiffuse.core.schedule import Schedule
from undiffuse.recipes.arrays import ARRAYS, NEAREST, TRANSITIONS, Arrays, array

GAUSSIAN, CATEGORICAL, PRODUCT = "gaussian", "categorical", "product"
TOKENS, COLUMNS = "tokens", "columns"  # the codecs that processes of tokens and of rows are advised to take


def process(
    table: Mapping[str, Any], schedule: Schedule, codec: Codec | None, arrays: Arrays = MappingProxyType({})
) -> Process:
    """The process of a [process] table, Gaussian if it is empty, on a schedule.

    codec: what was fitted to the data, which knows the vocabulary of tokens; None: not known yet, which is enough to
    see whether the table makes sense. arrays: what files that it names hold, by path; others are read.
    Raises Refused for an unknown process or field, or values that make no sense.
    """
    name = kind(table)
    fields = {key: value for key, value in table.items() if key != "name"}
    choice = PROCESSES[name]
    return choice(**registry.check(choice, fields, owner=f"process {name!r}")).on(schedule, codec, arrays)


def kind(table: Mapping[str, Any]) -> str:
    """The name of the process in a [process] table; raises Refused for an unknown one."""
    name = str(table.get("name", GAUSSIAN))
    if name not in PROCESSES:
        raise unknown("processes", name, PROCESSES)
    return name


def check(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises Refused where a recipe's process, codec and parameterization are not all for values, all for tokens, or
    all for rows of both.
    """
    codec, name = str(tables["codec"].get("name")), kind(tables.get("process", {}))
    if (name == PRODUCT) != has_rows(codec):
        raise Refused(
            f"codec {codec!r} and process {name!r} do not go together: rows of numbers and categories take "
            f"codec.name = {COLUMNS!r} and process.name = {PRODUCT!r}"
        )
    coded, tokens = has_tokens(codec), name not in (GAUSSIAN, PRODUCT)
    if embedding := tables.get("denoiser", {}).get("embedding"):
        if tokens or not coded:
            raise Refused(
                f"denoiser.embedding = {embedding} makes values of tokens: it needs a codec of tokens and "
                f"process.name = {GAUSSIAN!r}, not codec {codec!r} and process {name!r}"
            )
        coded = False
    if tokens and not coded:
        raise Refused(f"process {name!r} is for tokens and codec {codec!r} for values: write codec.name = {TOKENS!r}")
    if not tokens and coded:
        raise Refused(
            f"codec {codec!r} needs a process for tokens: write process.name = {CATEGORICAL!r}, or "
            "denoiser.embedding = 16 for values that stand for them"
        )
    if tokens and "parameterization" in tables:
        raise Refused(
            "[parameterization] says how a network predicts values; tokens have probabilities: leave the table out"
        )
    if not tokens and "parameterization" not in tables:
        raise Refused(
            "the recipe has no table [parameterization], which says what a network that predicts values predicts"
        )


def has_tokens(codec: str) -> bool:
    """Whether the codec of this name encodes to tokens; raises Refused for an unknown one."""
    component: Any = registry.get("codecs", codec)
    return component.tokens


def has_rows(codec: str) -> bool:
    """Whether the codec of this name encodes to rows of numbers and categories; raises Refused for an unknown one."""
    component: Any = registry.get("codecs", codec)
    return component.mixed


def vocabularies(dynamics: Any) -> tuple[int, ...]:
    """How many tokens each part of a product has that is one of tokens; none of another process."""
    parts = dynamics.parts.values() if dynamics.family == "mixed" else ()
    return tuple(part.vocabulary for part in parts if part.family == "tokens")


@dataclass(frozen=True)
class GaussianTable:
    """Values, destroyed by normal noise: there is nothing to choose."""

    def on(self, schedule: Schedule, codec: Codec | None, arrays: Arrays) -> Process:
        """The Gaussian process."""
        return Gaussian(schedule)


@dataclass(frozen=True)
class CategoricalTable:
    """Tokens, replaced by draws. noise: what from: "uniform" (any symbol), "mask" (a token behind the vocabulary),
    "frequencies" (as often as in the data), or a probability for each symbol.
    """

    noise: Literal["uniform", "mask", "frequencies"] | tuple[float, ...] = "uniform"

    def on(self, schedule: Schedule, codec: Codec | None, arrays: Arrays) -> Process:
        """The categorical process over the codec's vocabulary; without a codec over two symbols."""
        size, frequencies = _symbols(codec)
        if isinstance(self.noise, str):
            named = {"uniform": uniform(size), "mask": mask(size + 1), "frequencies": frequencies}
            return Categorical(schedule.for_tokens(frequencies, named[self.noise]), named[self.noise])
        if codec is not None and len(self.noise) != size:
            raise Refused(
                f"process.noise has {len(self.noise)} probabilities, and the data's vocabulary has {size} symbols"
            )
        return Categorical(schedule if codec is None else schedule.for_tokens(frequencies, self.noise), self.noise)


@dataclass(frozen=True)
class ProductTable:
    """Rows of a table: numbers destroyed by normal noise, and each category replaced by draws. noise: what from, for
    every categorical column: "mask" (a token behind its categories), "uniform", or "frequencies".
    """

    noise: Literal["mask", "uniform", "frequencies"] = "mask"

    def on(self, schedule: Schedule, codec: Codec | None, arrays: Arrays) -> Process:
        """The process of the codec's columns; without a codec that of one number and one of two categories."""
        sizes = codec.vocabularies if codec else (2,)
        shares = (codec.frequencies if codec else ()) or tuple(uniform(size) for size in sizes)
        noises = [
            {"mask": mask(size + 1), "uniform": uniform(size), "frequencies": share}[self.noise]
            for size, share in zip(sizes, shares, strict=True)
        ]
        numbers = Rows(codec.numbers if codec else 1, len(noises)).numbers
        values: dict[str, Process] = {NUMBERS: Gaussian(schedule)} if numbers else {}
        return Product(values | {category(i): Categorical(schedule, noise) for i, noise in enumerate(noises)})


@dataclass(frozen=True)
class TransitionsTable:
    """Tokens that turn into some others, by a matrix for each of the schedule's steps.

    kind: "gaussian" (levels turn into near ones), "nearest" (along the graph of `neighbours` nearest neighbours of an
    embedding), "uniform", "mask", or the path of a .npy or .npz of matrices (steps, K, K), or one (K, K) for all, rows
    from and columns to. embedding: the path of a .npy or .npz (K, d); "": the values of the codec levels. What the
    files hold travels with the model.
    """

    kind: str = "gaussian"
    neighbours: int = 5
    embedding: str = ""

    def on(self, schedule: Schedule, codec: Codec | None, arrays: Arrays) -> Process:
        """The process over the codec's vocabulary; without a codec over a few symbols, to see whether it can be."""
        size, frequencies = _symbols(codec, self.neighbours + 2)
        noise = mask(size + 1) if self.kind == "mask" else uniform(size)
        timed = schedule.for_tokens(frequencies, noise)
        made = {
            "gaussian": lambda: transition_matrices.gaussian(timed, size),
            NEAREST: lambda: transition_matrices.nearest(timed, self._embedding(codec, size, arrays), self.neighbours),
            "uniform": lambda: transition_matrices.towards(timed, noise),
            "mask": lambda: transition_matrices.towards(timed, noise),
        }
        if self.kind in made:
            return Transitions(timed, made[self.kind]())
        if not self.kind.endswith(ARRAYS):
            raise Refused(
                f"process.kind = {self.kind!r} is none of {', '.join(made)}, nor a path that ends in .npy or .npz"
                f"{near(self.kind, list(made))}"
            )
        found = Transitions(schedule, array(self.kind, "process.kind", arrays))
        if codec is not None and found.vocabulary not in (size, size + 1):
            raise Refused(
                f"{self.kind} has matrices of {found.vocabulary} symbols, and the data's vocabulary has {size}: they "
                "need as many, or one more, a mask"
            )
        return found

    def _embedding(self, codec: Codec | None, size: int, arrays: Arrays) -> Tensor:
        values = torch.tensor(codec.values if codec else range(size), dtype=torch.float64)
        found = array(self.embedding, "process.embedding", arrays) if self.embedding else values
        if not len(found):
            raise Refused('process.kind = "nearest" needs an embedding of the symbols: process.embedding = PATH.npy')
        if codec is not None and len(found) != size:
            raise Refused(f"the embedding has {len(found)} rows, and the data's vocabulary has {size} symbols")
        return found


def _symbols(codec: Codec | None, few: int = 2) -> tuple[int, tuple[float, ...]]:
    """How many symbols the codec's data have, and how frequent each is; without a codec a few alike."""
    size = (codec.vocabulary if codec else 0) or few
    return size, tuple(codec.frequencies if codec else ()) or uniform(size)


PROCESSES: dict[str, type[GaussianTable] | type[CategoricalTable] | type[ProductTable] | type[TransitionsTable]] = {
    GAUSSIAN: GaussianTable,
    CATEGORICAL: CategoricalTable,
    PRODUCT: ProductTable,
    TRANSITIONS: TransitionsTable,
}
