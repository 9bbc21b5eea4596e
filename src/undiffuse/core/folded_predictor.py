"""Several readers of items side by side, each of which leaves some out: what is told of items it did not learn."""

import torch
from torch import Tensor, nn

from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.gaussian import Gaussian

GOLDEN = (5**0.5 - 1) / 2
FINE = 1000.0  # items that are farther apart than about its inverse fall into folds of their own
SHARE = 4  # one in so many members leaves an item out


class Members(nn.Module):
    """The outputs of each of some networks, (members, batch, outputs)."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        return torch.stack([member(x, c_time) for member in self.members])


class FoldedPredictor(ItemPredictor):
    """The mean of several networks' outputs (batch, outputs); `without` is that of those that never learn an item.

    The item's own numbers say its fold, k = floor(members frac(w x)) with fixed weights w, and the quarter of the
    members that begins with k leaves it out. So equal items share a fold, and nothing is remembered of any item.
    networks: the members, at least 2. process, parameterization: see `ItemPredictor`.
    Source: cross-fitting, arXiv:1905.02928, sec. 3 (CV+), with a quarter left out in the place of one fold.
    """

    def __init__(self, networks: list[nn.Module], process: Gaussian, parameterization: Parameterization) -> None:
        super().__init__(Members(networks), process, parameterization)
        self.count = len(networks)

    def forward(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        return self.each(x_t, t).mean(0)

    def learns(self, x: Tensor) -> Tensor:
        """Which members learn from the clean items x (batch, *shape): booleans (members, batch)."""
        flat = x.flatten(1).double()
        place = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64, device=x.device)
        fold = (flat @ (FINE * (0.5 + place * GOLDEN % 1)) % 1 * self.count).long()
        member = torch.arange(self.count, dtype=torch.int64, device=x.device)[:, None]
        return (member - fold) % self.count >= max(1, self.count // SHARE)

    def without(self, x: Tensor) -> Tensor:
        """The mean over the members that do not learn from the clean items x."""
        left_out = ~self.learns(x)[:, :, None]
        return (self.each(x, 0.0) * left_out).sum(0) / left_out.sum(0)
