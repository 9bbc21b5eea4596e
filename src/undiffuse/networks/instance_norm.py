"""Instance normalisation that keeps how the channels differ, with numbers that depend on the noise level."""

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.networks.axes import everywhere
from undiffuse.networks.embeddings import Label

EPS = 1e-5


def instance_norm_plus(x: Tensor, numbers: Tensor) -> Tensor:
    """gamma (norm(x) + alpha (m - mean m) / std m) + beta,  m the channels' means of a sample.

    norm(x): each channel of each sample with mean 0 and variance 1; std m over the channels, unbiased.
    x: (batch, channels, one size an axis); numbers: (batch, 3 channels), gamma, alpha and beta side by side.
    Source: arXiv:1907.05600, app. A.1, without whose term a norm forgets how the channels differ.
    """
    gamma, alpha, beta = (everywhere(part, x) for part in numbers.to(x.dtype).chunk(3, dim=1))
    places = tuple(range(2, x.ndim))
    means = x.mean(places, keepdim=True)
    x = x - means
    variance = x.square().mean(places, keepdim=True)  # several times faster than torch.var_mean on a CPU
    spread, middle = torch.var_mean(means, dim=1, correction=1, keepdim=True)
    scale = gamma * (variance + EPS).rsqrt()
    offset = beta + gamma * alpha * (means - middle) * (spread + EPS).rsqrt()
    return torch.addcmul(offset, x, scale)


class LevelNumbers(nn.Module):
    """gamma, alpha and beta of every norm of a network, for each level of a ladder and each class.

    level: 0 is the cleanest; between two levels the numbers lie on the straight line between theirs. levels 0: the same
    numbers at every level (arXiv:2006.09011, sec. 3.3). A class adds its own, the null class nothing.
    Raises Refused for a level above the last.
    """

    def __init__(self, widths: list[int], levels: int, classes: int) -> None:
        super().__init__()
        if levels < 0:
            raise Refused(
                f"levels = {levels}: give the number of the ladder's levels, or 0 for one norm for all of them"
            )
        self.widths, self.levels = [3 * width for width in widths], levels
        self.table = nn.Parameter(torch.randn(max(levels, 1), sum(self.widths)))
        with torch.no_grad():
            for part, width in zip(self.table.split(self.widths, dim=1), widths, strict=True):
                part[:, : 2 * width].mul_(0.02 if levels else 0.0).add_(1.0)  # gamma and alpha
                part[:, 2 * width :].zero_()
        self.label = Label(classes, sum(self.widths))
        if self.label.table is not None:
            nn.init.zeros_(self.label.table.weight)

    def forward(self, level: Tensor, label: Tensor | None, drop: Drop) -> list[Tensor]:
        """The numbers of each norm, (batch, 3 width) each."""
        if not self.levels:
            numbers = self.table.expand(len(level), -1)
        else:
            last = self.levels - 1
            if level.device.type == "cpu" and bool((level > last + 0.5).any()):
                raise Refused(
                    f"this network knows the {self.levels} levels 0 to {last} of its ladder, not level "
                    f"{float(level.max()):g}: set network.levels to the schedule's steps"
                )
            level = level.clamp(0, last)
            below = level.long()
            share = (level - below)[:, None].to(self.table.dtype)
            numbers = torch.lerp(self.table[below], self.table[(below + 1).clamp(max=last)], share)
        return list(self.label(numbers, label, drop).split(self.widths, dim=1))
