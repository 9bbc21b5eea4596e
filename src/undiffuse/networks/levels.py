"""The levels of a U-Net, down to the lowest resolution and up again, whatever its blocks are made of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.network import Depth
from undiffuse.networks.blocks import SQRT_HALF, Down, Middle, Unattended, Up, concatenated
from undiffuse.networks.reading import TextTokens


@dataclass(frozen=True, eq=False)
class LevelParts:
    """What levels are made of.

    down, up: a residual block of the way down, and of the middle and the way up, by its channels in and out.
    attention: by its channels. halve, double: the way from a level to the next, by its channels. join: what a block of
    the way up gets of x and of what the way down has left for it.
    """

    down: Callable[[int, int], Any]
    up: Callable[[int, int], Any]
    attention: Callable[[int], Any]
    halve: Callable[[int], nn.Module]
    double: Callable[[int], nn.Module]
    join: Callable[[Tensor, Tensor], Tensor] = concatenated


def blocks_each(blocks: int | Sequence[int], depth: int, owner: str) -> tuple[int, ...]:
    """How many blocks each level has; raises Refused, naming the owner, for fewer than 1, and for another count."""
    each = (blocks,) * depth if isinstance(blocks, int) else tuple(blocks)
    if len(each) != depth:
        raise Refused(f"blocks = {blocks}: {owner} of {depth} levels needs one number, or {depth}")
    if min(each, default=1) < 1:
        raise Refused(f"blocks = {blocks}: {owner} needs at least 1 a level")
    return each


def joined_smaller(join: Callable[[Tensor, Tensor], Tensor], x: Tensor, skip: Tensor) -> Tensor:
    """What `join` makes of both, with the skip divided by sqrt 2 first."""
    return join(x, SQRT_HALF * skip)


def levels(
    first: int, widths: Sequence[int], blocks: Sequence[int], attention: Sequence[int], parts: LevelParts
) -> tuple[nn.ModuleList, Middle, nn.ModuleList]:
    """The way down, the middle, and the way up, deepest level first.

    first: channels that the way down starts with. widths: of each level. blocks: residual blocks of each level, one
    more on the way up. attention: the levels with attention, negative ones counted from the deepest; the middle always
    has it.
    """
    depth = len(widths)
    attended = {level % depth for level in attention}
    attentions = [parts.attention if level in attended else _none for level in range(depth)]
    down, up, skips, now = nn.ModuleList(), nn.ModuleList(), [first], first
    for level, out in enumerate(widths):
        stack = [parts.down(now if i == 0 else out, out) for i in range(blocks[level])]
        last = level == depth - 1
        found = [attentions[level](out) for _ in range(blocks[level])]
        down.append(Down(stack, found, None if last else parts.halve(out)))
        skips += [out] * (blocks[level] + (not last))
        now = out
    inside = parts.attention(now)
    middle = Middle([parts.up(now, now), parts.up(now, now)], inside)
    for level, out in reversed(list(enumerate(widths))):
        stack = [parts.up((now if i == 0 else out) + skips.pop(), out) for i in range(blocks[level] + 1)]
        found = [attentions[level](out) for _ in range(blocks[level] + 1)]
        up.append(Up(stack, found, parts.double(out) if level else None, parts.join))
        now = out
    return down, middle, up


def _none(width: int) -> nn.Module:
    return Unattended()


@dataclass
class Trunk:
    """A U-Net half-way: h, the output of the middle, and skips, what the way up takes of the way down, its last first.

    Whoever steers the network adds to both. times: features of the blocks of the way up. text: what attention reads.
    """

    h: Tensor
    skips: list[Tensor]
    times: Iterator[Tensor]
    text: TextTokens | None


def descend(
    x: Tensor, times: Iterator[Tensor], text: TextTokens | None, down: nn.ModuleList, middle: nn.Module
) -> Trunk:
    """x (batch, first, ...) after the way down and the middle. times: features of each block in their order."""
    skips = [x]
    for level in down:
        skips += level(skips[-1], times, text)
    return Trunk(middle(skips[-1], times, text), skips, times, text)


def ascend(trunk: Trunk, up: nn.ModuleList) -> Tensor:
    """What the way up makes of it, (batch, widths[0], ...); its skips are used up."""
    x = trunk.h
    for level in up:
        x = level(x, trunk.times, trunk.skips, trunk.text)
    return x


def depths_of(widths: Sequence[int], down: Any, middle: nn.Module, up: Any) -> Mapping[str, Depth]:
    """Where features of the levels can be read: "down0", "down1" ..., "middle", ... "up1", "up0"."""
    rising = list(zip(reversed(range(len(widths))), up, strict=True))
    return {
        **{f"down{i}": Depth(level.attentions[-1], widths[i]) for i, level in enumerate(down)},
        "middle": Depth(middle, widths[-1]),
        **{f"up{i}": Depth(level.attentions[-1], widths[i]) for i, level in rising},
    }
