"""How well items and texts find one another: the share whose own partner is among the nearest, beside chance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.evaluation.metrics.metric import verdict
from undiffuse.evaluation.number_table import number_table
from undiffuse.evaluation.record import Recorded

AMONG = (10, 100)  # partners, the own one among them
FIRST = (1, 5)  # of them that count


@dataclass(frozen=True)
class Retrieval(Recorded):
    """shares: of held-out and of training items, by "item to text" or "text to item" and (first, among).

    zero_shot: the shares of held-out and of training items whose class is told by the nearest class name; None where
    there are no classes.
    """

    shares: Mapping[str, Mapping[tuple[int, int], tuple[float, float]]]
    zero_shot: tuple[float, float] | None
    classes: int

    def printed(self) -> Iterator[Any]:
        table = number_table(("own partner found", "held out", "training items", "chance"))
        for way, cases in self.shares.items():
            for (first, among), (unseen, seen) in cases.items():
                name = f"{way}, {'nearest' if first == 1 else f'{first} nearest'} of {among}"
                table.add_row(name, *(f"{100 * share:.1f} %" for share in (unseen, seen, first / among)))
        if self.zero_shot is not None:
            shares = (*self.zero_shot, 1 / self.classes)
            table.add_row("class told by its name", *(f"{100 * share:.1f} %" for share in shares))
        yield table
        yield from self.warnings()


def retrieval(similarity: Tensor, same: Tensor) -> dict[tuple[int, int], float]:
    """The share of rows whose own column is among the `first` nearest of `among` columns, by (first, among).

    similarity: (n, n) of items and texts, the diagonal those that belong together. same: booleans (n, n), true for
    columns that say the same as the own one, which are never among the others. The other columns are drawn without
    replacement: with b of m nearer than the own one the chance of at most first - 1 of them among among - 1 drawn is
    hypergeometric, and its mean is given, without any draw. Left out where there are not so many columns.
    """
    from scipy.stats import hypergeom  # takes long to import

    nearer = (similarity >= similarity.diagonal()[:, None]) & ~same
    others, ahead = (~same).sum(1).numpy(), nearer.sum(1).numpy()
    found: dict[tuple[int, int], float] = {}
    for among in AMONG:
        enough = others >= among - 1
        for first in FIRST if enough.any() else ():
            chances = hypergeom.cdf(first - 1, others[enough], ahead[enough], among - 1)
            found[first, among] = float(np.mean(chances))
    return found


def both_ways(items: Tensor, texts: Tensor, captions: np.ndarray) -> dict[str, dict[tuple[int, int], float]]:
    """`retrieval` of texts by items and of items by texts; unit vectors (n, width) each, captions (n,)."""
    similarity = items.double() @ texts.double().mT
    same = torch.from_numpy(captions[:, None] == captions[None])
    return {"item to text": retrieval(similarity, same), "text to item": retrieval(similarity.mT, same)}


def judged(
    held_out: Mapping[str, Mapping[tuple[int, int], float]],
    train: Mapping[str, Mapping[tuple[int, int], float]],
    zero_shot: tuple[float, float] | None,
    count: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """A verdict for each number; the floor is that of training items."""
    found = {
        f"{way} {first} of {among}": verdict(
            share, train[way].get((first, among), share), better="higher", count=count, seed=seed, chance=first / among
        )
        for way, cases in held_out.items()
        for (first, among), share in cases.items()
    }
    if zero_shot is not None:
        found["zero_shot"] = verdict(*zero_shot, better="higher", count=count, seed=seed)
    return found
