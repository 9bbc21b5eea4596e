"""One network for a whole row: it guesses the numbers of a table and the categories of each column together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.heads.token_outputs import OUTPUTS, WIDTHS, TokenHead
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.mixed_columns import NUMBERS, MixedColumns, Row, category
from undiffuse.core.schedule import as_time


class ColumnPredictor(nn.Module, Denoiser):
    """For numbers  mean = c_skip x_t + c_out network(...), as in `Predictor`; for each category a belief, as in
    `Classifier`, all from one call.

    network: called as network(x, c_time, **cond) with x (batch, columns), numbers times c_in before token numbers, and
    c_time (batch,), both float32; returns (batch, numbers + the sum of all vocabularies): for each number one, then the
    logits of one column behind the other's. parameterization: a Parameterization, or its name.
    symbols: how many of each column's tokens are data. output: what the logits are, see `outputs`; the product form
    "plug_in" is for every noise, and of a mask the same as "subs".
    Raises Refused for a network of another width, and for an output that is none for every column's process.
    """

    def __init__(
        self,
        network: nn.Module,
        process: MixedColumns,
        parameterization: Parameterization | str,
        symbols: Sequence[int],
        output: str = "plug_in",
    ) -> None:
        super().__init__()
        for column, size in zip(process.categories, symbols, strict=True):
            TokenHead(output, size).check(column)
        if output in WIDTHS:
            raise Refused(f"output {output!r} is for ordered levels, and categories have no order")
        self.network = network
        self.process = process
        self.parameterization = (
            registry.get("parameterizations", parameterization)()
            if isinstance(parameterization, str)
            else parameterization
        )
        self.sizes = tuple(symbols)
        self.output = output

    def forward(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Row:
        process: MixedColumns = self.process  # type: ignore[assignment]
        t, found = as_time(t), process.split(x_t)
        numbers = x_t[:, : process.numbers]
        alpha, sigma = process.schedule.at(t, numbers)
        c_skip, c_out, c_in = (c.to(x_t.dtype) for c in self.parameterization.coefficients(alpha, sigma))
        c_time = (
            self.parameterization.time(process.schedule, t).to(device=x_t.device, dtype=torch.float32).expand(len(x_t))
        )
        fed = torch.cat([c_in * numbers, x_t[:, process.numbers :]], dim=1).float()
        widths = [process.numbers, *(column.vocabulary for column in process.categories)]
        output: Tensor = self.network(fed, c_time, **cond)
        if tuple(output.shape) != (len(x_t), sum(widths)):
            raise Refused(f"a row of {widths} needs {sum(widths)} outputs; the network gave {tuple(output.shape)}")
        values, *logits = torch.split(output, widths, dim=1)
        parts: dict[str, Distribution] = {}
        if process.numbers:
            parts[NUMBERS] = Normal(c_skip * numbers + c_out * values.to(x_t.dtype))
        for i, (column, each) in enumerate(zip(process.categories, logits, strict=True)):
            here = found[category(i)]
            parts[category(i)] = OUTPUTS[self.output](each[:, None], here, t, column, self.sizes[i])
        return process.row(parts)

    @property
    def device(self) -> torch.device | None:
        return next((weight.device for weight in self.parameters()), None)

    def no_density(self) -> str:
        return self.parameterization.no_density()

    __call__ = nn.Module.__call__
