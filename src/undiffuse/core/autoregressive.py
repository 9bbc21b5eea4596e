"""An autoregressive model: the probability of an item, value by value, each given those before it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.density import DensityModel
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.level_head import LevelHead
from undiffuse.core.network import Network
from undiffuse.core.random import Random


class AutoregressiveNetwork(Network, ABC):
    """For every value of an item the parameters of its distribution given those before it.

    The order is the raster's, and within a place that of the channels: place by place, row by row, and at each place
    red, then green, then blue. channels: of the data. outputs: parameters of each value. embeds: whether it can be
    built with `symbol_width`, so many numbers for each value, those of one value beside each other.
    """

    embeds: ClassVar[bool] = False
    predicts: ClassVar[str] = "conditionals"
    forms: ClassVar[tuple[str, ...]] = ("label",)

    channels: int
    outputs: int

    @abstractmethod
    def forward(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Tensor:
        """x (batch, channels, *places) in [-1, 1] -> (batch, channels, outputs, *places), all values at once; of
        symbols x is (batch, channels * symbol_width, *places).

        What is given at a value depends on the values before it alone.
        """

    @abstractmethod
    def walk(self, x: Tensor, label: Tensor | None = None, drop: Any = None) -> Iterator[Tensor]:
        """The same, one value after the other in the order: (batch, outputs) each. Before the next one is asked for, x
        holds the value of this one; what is computed of the values before is kept.
        """


class Autoregressive(DensityModel):
    """log P(x) = sum over i of log P(x_i given x_1 ... x_{i-1}), x on `levels`, even ones from -1 to 1.

    network: gives the parameters of each factor, and head says what they mean. levels: where encoded items lie.
    embedding: of symbols without an order, such as codes: so many learned numbers stand for each; 0: levels are
    numbers.
    Source: arXiv:1601.06759, eq. 1 and 2.
    """

    exact: ClassVar[bool] = True
    network: AutoregressiveNetwork

    def __init__(self, network: AutoregressiveNetwork, head: LevelHead, levels: Decoder, embedding: int = 0) -> None:
        super().__init__()
        self.network, self.head, self.levels = network, head, levels
        self.table = nn.Embedding(levels.levels, embedding) if embedding else None

    def log_prob(self, x: Tensor, random: Random | None = None, **cond: Any) -> Tensor:
        """Exact; nothing is drawn."""
        places = self.levels.places(x)
        seen = self._scaled(places)
        found = self.head.log_prob(_wide(self.network(seen, **cond)), seen, places)
        return found.flatten(1).sum(1, dtype=torch.float64)

    @torch.no_grad()
    def draw(
        self,
        places: Tensor,
        known: Tensor,
        random: Random,
        cut: Callable[[Tensor], Tensor] = lambda log_probs: log_probs,
        row: Callable[[Tensor], None] = lambda places: None,
        weight: float = 1.0,
        drop: Any = None,
        **cond: Any,
    ) -> Tensor:
        """Items as the numbers of their levels, (batch, *shape), drawn value by value, each given those before it.

        places: where `known` (*shape) is true, the values that stay; the draws before one do not depend on it.
        random: value i of an item is drawn by stream i. cut: changes log-probabilities (batch, levels) before the
        draw, as a temperature does. row: is told the values after each row. weight: of guidance, log p = (1 - weight)
        log p(without) + weight log p(with) up to a constant; without: the conditions that `drop` says, dropped.
        """
        places = torch.where(known, places, 0)
        each = 1 if self.table is None else self.table.embedding_dim
        seen = torch.where(known.repeat_interleave(each, 0), self._scaled(places), 0.0)
        width = places.shape[-1] * places.shape[1]
        walks = [self.network.walk(seen, **cond)]
        walks += [self.network.walk(seen, drop=drop, **cond)] if weight != 1 else []
        for i, ((*place, channel), *outs) in enumerate(zip(order(places.shape[1:]), *walks, strict=True), 1):
            at = (slice(None), channel, *place)
            if not known[at[1:]]:
                here = seen[(slice(None), slice(None), *place)]
                log_probs, *others = (self.head.all_log_probs(_wide(out), here, channel) for out in outs)
                for without in others:
                    log_probs = (without + weight * (log_probs - without)).nan_to_num(nan=-torch.inf).log_softmax(-1)
                places[at] = Tokens(cut(log_probs)).sample(random.fold(i))
                own = (slice(None), slice(channel, channel + 1), *place)
                seen[(slice(None), slice(channel * each, (channel + 1) * each), *place)] = self._scaled(places[own])
            if i % width == 0:
                row(places)
        return places

    def _scaled(self, places: Tensor) -> Tensor:
        """Levels as numbers from -1 to 1 in the network's dtype, or the numbers that stand for symbols."""
        if self.table is not None:
            return self.table(places).movedim(-1, 2).flatten(1, 2)
        dtype = next(self.network.parameters()).dtype
        return (places.double() * (2 / (self.levels.levels - 1)) - 1).to(dtype)


def order(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """(*place, channel) of the values of an item (channels, *places), in the order in which they are drawn."""
    channels, *places = shape
    return product(*map(range, places), range(channels))


def _wide(outputs: Tensor) -> Tensor:
    """Float32 or better."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
