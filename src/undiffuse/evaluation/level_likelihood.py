"""How likely a run finds data by a probability of their levels: exactly, or by a bound."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from undiffuse.core.density import DensityModel
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation.nll import condition, refuse_unlike
from undiffuse.evaluation.scores import Scores
from undiffuse.likelihood.bound import LEVELS
from undiffuse.progress import Advance
from undiffuse.sampling.generator import Generator

ITEMS = 2000  # that `undiffuse evaluate` looks at
AT_ONCE = 2**16  # values of items that are looked at together


@torch.no_grad()
def level_likelihood(
    model: Generator,
    density: DensityModel,
    data: Dataset,
    *,
    given: bool | Sequence[str] = False,
    conditions: Mapping[str, Any] = MappingProxyType({}),
    draws: int = 1,
    seed: int = 0,
    advance: Advance = lambda done, total: None,
) -> Scores:
    """log P of each item's levels. density: the model's. given, conditions: as of `nll.score`. draws: of a bound, whose
    mean over them it is.

    Raises Refused for items of another shape or dtype, with both, for conditions that are not there, and for draws
    below 1.
    """
    refuse_unlike(model, data)
    if draws < 1:
        raise Refused(f"a bound is a mean over 1 draw or more, not {draws}")
    cond, named = condition(model, data, given, conditions)
    elements = int(np.prod(data.shape))
    found = list[torch.Tensor]()
    for rows in torch.arange(len(data)).split(max(1, AT_ONCE // elements)):
        x = model.codec.encode(np.asarray(data.x[rows.numpy()])).to(model.device)
        own = {name: value[rows.to(value.device)] for name, value in cond.items()}
        each = [density.log_prob(x, Random(seed, rows).fold(i), **own) for i in range(1 if density.exact else draws)]
        found.append(torch.stack(each).mean(0).double().cpu())
        advance(int(rows[-1]) + 1, len(data))
    nats = torch.cat(found).numpy()
    if density.exact:
        return Scores(nats, np.zeros_like(nats), elements, LEVELS, named, exact=True)
    return Scores(None, None, elements, LEVELS, named, nats)


def held_out_likelihood(
    model: Generator, density: DensityModel, held_out: Dataset, seed: int, advance: Advance, draws: int = 1
) -> Scores:
    """That of up to ITEMS held-out items, given their conditions that the model takes."""
    given = not held_out.conditions.keys().isdisjoint(model.conditions)
    return level_likelihood(model, density, held_out.some(ITEMS), given=given, draws=draws, seed=seed, advance=advance)
