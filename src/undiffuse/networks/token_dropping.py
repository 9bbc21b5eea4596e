"""Tokens that miss the middle of a network in training, and the layer that joins what went both ways (SPRINT)."""

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused

EDGE = 2  # blocks before the middle, and as many behind it


class SparseDenseFusion(nn.Module):
    """h = W [dense, deep], dense before the middle blocks and deep behind them, each (batch, tokens, width).

    In training a share of the tokens, another one for each item, misses the middle blocks: deep is dense plus a learned
    vector there. W = [0, 1] at the start, so that with share 0, as in evaluation, the network is the one without the
    layer. Which tokens are missed is drawn by PyTorch's generator, which training seeds for each step.
    Raises Refused for a share outside [0, 1), and a network without a middle.
    Source: arXiv:2510.21986, sec. 3, whose deep path is padded with the learned vector alone.
    """

    def __init__(self, width: int, share: float, depth: int) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise Refused(f"drop_tokens = {share:g}: the share of tokens that miss the middle blocks is in [0, 1)")
        if depth <= 2 * EDGE:
            raise Refused(f"drop_tokens needs blocks between the first {EDGE} and the last {EDGE}: depth = {depth}")
        self.share = share
        self.fuse = nn.Linear(2 * width, width)
        self.missing = nn.Parameter(torch.zeros(width))
        with torch.no_grad():
            nn.init.zeros_(self.fuse.bias)
            nn.init.zeros_(self.fuse.weight)
            nn.init.eye_(self.fuse.weight[:, width:])

    def kept(self, h: Tensor, before: int) -> Tensor | None:
        """Which tokens of h go through the middle, (batch, kept) in their order; None: all.

        before: so many stand before the others and always do.
        """
        tokens = h.shape[1] - before
        if not self.training or not self.share:
            return None
        count = max(round((1 - self.share) * tokens), 1)
        places = (
            torch.rand(len(h), tokens, dtype=torch.float32, device=h.device).argsort(1)[:, :count].sort(1).values
            + before
        )
        always = torch.arange(before, device=h.device).expand(len(h), before)
        return torch.cat([always, places], dim=1)

    def forward(self, dense: Tensor, deep: Tensor, kept: Tensor | None) -> Tensor:
        """What the last blocks see; deep: of the tokens in `kept`."""
        if kept is not None:
            whole = dense + self.missing.to(dense.dtype)
            deep = whole.scatter(1, kept[..., None].expand_as(deep), deep.to(whole.dtype))
        return self.fuse(torch.cat([dense, deep], dim=-1))


def only(x: Tensor, kept: Tensor) -> Tensor:
    """The tokens of x (batch, tokens, width) that are kept, (batch, kept, width)."""
    return x.gather(1, kept[..., None].expand(*kept.shape, x.shape[-1]))


def turns_of(turns: Tensor, kept: Tensor) -> Tensor:
    """The angles (2, tokens, d) of the tokens that each item keeps, for every head: (2, batch, 1, kept, d)."""
    return turns[:, kept][:, :, None]
