"""Tokens as values: a network that guesses embeddings, and the table of them that is trained beside it."""

from collections.abc import Mapping
from functools import cached_property
from math import erfc, sqrt
from typing import Self

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.heads.head import Belief, Head
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule

LENGTH = 4.0  # of the first embeddings: their nearest are some 4 apart, where rounding is sure
LOOKED = 2048  # tokens, the first, whose distances are watched
COLLAPSED = 2.0  # sigma_0 between most tokens and the nearest other: one in six is read wrongly there, without noise


class EmbeddingHead(nn.Module, Head):
    """A head of values that stand for tokens:  x_0 = Emb(w) + sigma_0 noise,  p(w given x) = softmax_w(-|x -
    Emb(w)|^2 / 2).

    States are (batch, width, length), one token a column; data are tokens (batch, length). The rounding is the paper's
    softmax(x Emb^T + b) with b = -|Emb|^2/2, so that the likeliest token is the nearest. table: (vocabulary, width), a
    parameter as any other: saved, averaged and resumed with the network's. sigma_0: the noise of the schedule's first
    step, with which data begin. Raises Refused for a schedule without steps, and fewer than 2 tokens or 1 number each.
    Source: arXiv:2205.14217, sec. 4.1 and 4.2.
    """

    def __init__(self, parameterization: Parameterization, schedule: Schedule, vocabulary: int, width: int) -> None:
        super().__init__()
        if not schedule.steps:
            raise Refused(
                "embeddings begin with the noise of a schedule's first step: take one with steps, such as sqrt"
            )
        if vocabulary < 2 or width < 1:
            raise Refused(f"embeddings need 2 tokens and 1 number each, or more, not {vocabulary} and {width}")
        self.parameterization = parameterization
        self.schedule = schedule
        self.table = nn.Parameter(torch.randn(vocabulary, width, dtype=torch.float32).mul_(LENGTH / sqrt(width)))

    @cached_property
    def sigma_0(self) -> float:
        """The noise on the embeddings of data, sigma(1/T)."""
        return float(self.schedule.sigma(torch.tensor(1 / self.schedule.steps, dtype=torch.float64)))

    @property
    def embeddings(self) -> Self:
        return self

    def open(self, process: Gaussian, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Belief]:
        """As the parameterization."""
        return self.parameterization.open(process, x_t, t)

    def data_symbols(self, process: Gaussian) -> int:
        """How many tokens there are."""
        return len(self.table)

    def no_density(self) -> str:
        return self.parameterization.no_density()

    def state_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(batch, width, length) of data (batch, length)."""
        return (shape[0], self.table.shape[1], *shape[1:])

    def state_of(self, x_0: Tensor) -> Tensor:
        """Emb(w), (batch, width, length), of tokens (batch, length)."""
        return self.table[x_0].transpose(1, 2)

    def begun(self, x_0: Tensor, random: Random) -> Tensor:
        """A draw of Emb(w) + sigma_0 noise for tokens (batch, length): (batch, width, length)."""
        clean = self.state_of(x_0)
        return clean + self.sigma_0 * random.normal(tuple(clean.shape), dtype=clean.dtype, device=clean.device)

    def data_of(self, x: Tensor) -> Tensor:
        """The tokens of the nearest embeddings, (batch, length)."""
        return self.logits(x).argmax(-1)

    def logits(self, x: Tensor, alpha: float = 1.0, variance: float = 1.0) -> Tensor:
        """-|x - alpha Emb(w)|^2 / (2 variance) up to what all w share: (batch, length, vocabulary).

        With the alpha and sigma^2 of a time, the log-chances of w for x_t alone if all tokens are as frequent.
        """
        table = self.table.to(x.dtype)
        away = (0.5 * alpha) * table.square().sum(1)
        return (x.transpose(1, 2) @ table.T - away) * (alpha / variance)

    def snapped(self, x: Tensor) -> Tensor:
        """The nearest embeddings, in x's shape."""
        return self.state_of(self.data_of(x)).to(x.dtype)

    @torch.no_grad()
    def signs(self) -> dict[str, float]:
        """The embeddings' mean norm, and how far they are apart in sigma_0: the least distance of two tokens, and the
        median over tokens of that to the nearest other; of the first LOOKED tokens.
        """
        some = self.table[:LOOKED].double()
        apart = torch.cdist(some, some).fill_diagonal_(torch.inf).amin(1) / self.sigma_0
        return {
            "embedding_norm": float(some.square().sum(1).sqrt().mean()),
            "embedding_gap": float(apart.min()),
            "embedding_gap_median": float(apart.median()),
        }

    def trouble(self, signs: Mapping[str, float]) -> str:
        """Why training is lost, by its signs: the embeddings have collapsed; "" while they have not."""
        gap = signs["embedding_gap_median"]
        if gap >= COLLAPSED:
            return ""
        return (
            f"The embeddings have collapsed: most tokens are {gap:.2g} sigma_0 or less from the nearest other, where "
            f"{misread(gap):.0%} are misread, and their mean norm is {signs['embedding_norm']:.2g}. What keeps them "
            "apart is the weight cross_entropy of the objective: set it to 1 and start anew"
        )


def misread(gap: float) -> float:
    """Q(gap / 2): how often noise takes a token for the other of two that are so many deviations of it apart."""
    return 0.5 * erfc(gap / 2 / sqrt(2))
