"""Columns: the loss of numbers and the loss of categories, each weighted as it should be, added up."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives.denoising import Denoising, Weighting
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.stratified import Stratified


@dataclass(frozen=True)
class ColumnsObjective(Timed):
    """loss = numbers + balance mean_k category_k, for rows of a table.

    numbers: `denoising` with this weighting, the mean over the numbers' columns.
    category_k: "bound" is the rate of column k's bound in nats, "cross_entropy" -log p(x_0 given x_t), of all columns
    alike. Both have the same best guess; the first spends more on what is nearly certain.
    times: how the noise levels are drawn. Source: arXiv:2209.15421, eq. 7 (Gaussian + mean of multinomial terms).
    Raises Refused for data that are no rows of a mixed table, and for a balance below 0.
    """

    families: ClassVar[frozenset[str]] = frozenset({"mixed"})

    weighting: Weighting = "snr_plus_one"
    categories: Literal["bound", "cross_entropy"] = "bound"
    balance: float = 1.0
    times: TimeDistribution = field(default_factory=Stratified)

    def __post_init__(self) -> None:
        Denoising(self.weighting)
        if self.balance < 0 or self.categories not in ("bound", "cross_entropy"):
            raise Refused(
                f"objective columns needs a balance of 0 or more and categories = 'bound' or 'cross_entropy', not "
                f"{self.balance:g} and {self.categories!r}"
            )

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        """The loss of each sample at given times t (batch,): (batch,)."""
        process = model.process
        true = model.state_of(batch.x)
        x_t = process.marginal(true, t).sample(random)
        guess = model(x_t, t, **batch.cond)
        share = self.balance / max(1, sum(part.family == "tokens" for part in process.parts.values()))
        numbers = Denoising(self.weighting)
        dtype = next((x.dtype for x in true.values() if x.is_floating_point()), torch.float32)
        losses: list[Tensor] = []
        for name, part in process.parts.items():
            if part.family == "values":
                losses.append(numbers.of(guess[name], true[name], part.schedule, t))
            elif self.categories == "bound":
                losses.append(share * rate(part, true[name], x_t[name], guess[name], t).to(dtype))
            else:
                losses.append(share * guess[name].error(true[name]).to(dtype))
        return torch.stack(losses).sum(0)
