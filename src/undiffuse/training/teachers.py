"""Whether the runs that an objective asks know the data as the same numbers, and in the same shape, as this run."""

from dataclasses import fields
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.codec import Codec
from undiffuse.core import registry
from undiffuse.core.arguments import shown
from undiffuse.core.errors import Refused
from undiffuse.recipes.uses import Uses

ITEMS = 4  # that are encoded by both where codecs are not plainly equal
NEAR = 0.01  # how far apart numbers of about unit scale may be


def check_teachers(uses: Uses, codec: Codec, shape: tuple[int, ...], items: np.ndarray) -> None:
    """Raises Refused where a run that the objective asks was trained on other numbers than this codec makes of the same
    items, or is a denoiser of samples of another shape.
    """
    for name, run in uses.runs.items():
        if not name.startswith("objective."):
            continue
        path = uses.paths.get(name, "")
        if sides := _apart(codec, run.codec, items):
            raise Refused(
                f"{name} = {path!r} was trained on what codec {sides[1]} makes of data, and this recipe's codec is "
                f"{sides[0]}: take a run with the same codec"
            )
        if run.denoises and tuple(run.shape) != shape:
            raise Refused(
                f"{name} = {path!r} is of samples of shape {tuple(run.shape)}, and these data are of shape {shape}: "
                "take a run on data of the same shape"
            )


def _apart(own: Codec, other: Codec, items: np.ndarray) -> tuple[str, str] | None:
    """What to call two codecs that make different numbers of the items; None: they make the same."""
    alike = type(own) is type(other)
    names = [each.name for each in fields(cast("Any", own)) if each.compare] if alike else []
    sides = [{name: getattr(codec, name) for name in names} | {"autoencoder": codec.stamp} for codec in (own, other)]
    unequal = [name for name, value in sides[0].items() if sides[1][name] != value]
    if alike and not unequal:
        return None
    if own.spelling == other.spelling and _equal(_encoded(own, items), _encoded(other, items)):
        return None
    about = [", ".join(f"{name} = {shown(side[name])}" for name in unequal) if alike else "" for side in sides]
    mine, its = (
        repr(registry.name_of(codec)) + (f" with {said}" if said else "")
        for codec, said in zip((own, other), about, strict=True)
    )
    return mine, its


def _encoded(codec: Codec, items: np.ndarray) -> Tensor | None:
    """The numbers that a codec makes of the items; None where it takes no such."""
    try:
        return codec.encode(items).double().cpu()
    except Refused:
        return None


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None or first.shape != second.shape:
        return False
    return torch.allclose(first, second, rtol=0, atol=NEAR)
