"""Completion: an autoregressive run keeps the values that are given, and draws the others in its order."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.autoregressive import order
from undiffuse.core.errors import Refused
from undiffuse.editing.given import item
from undiffuse.sampling.autoregressive_session import CompletingGenerator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.run import Run


@devices.on_cpu()
def complete(
    model: CompletingGenerator,
    x: np.ndarray | Tensor,
    known: np.ndarray | Tensor,
    n: int = 1,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """n completions of an item in the data's units, (n, *shape): each unknown value is drawn given those before it.

    x: the item, any number where it is not known. known: 1 where known, of the item's shape or one that broadcasts to
    it. Draws from P(x given the known) where all known values come before the unknown ones, as the upper half of an
    image; those behind an unknown one stay, but the values before do not depend on them: see `late`.
    request, options: as in `Generator.sample`. Raises Refused, with both shapes, for an item or a mask that does not
    fit, and where nothing is unknown.
    """
    if not isinstance(model, Run):
        raise Refused(f"model is a run, as `undiffuse.load` returns, not {arguments.shown(model)}")
    if not model.completes:
        raise Refused(
            f"an item is completed by an autoregressive run, and this is {model.what}: a run with a denoiser paints in "
            "by `inpaint`, and one of tokens by `infill`"
        )
    if model.codec.lossy:
        raise Refused(
            "this run draws the codes of an autoencoder, each of which is of many pixels: what is known of an item "
            "says none of them alone, so that it cannot be completed"
        )
    session = model.open(request, n=n, **options)
    given, mask = item(model, x, "x"), _mask(model.data_shape, known)
    if mask.all():
        raise Refused("every value is known: there is nothing to complete")
    blank = model.codec.decode(session.autoregressive.levels.values(session.places)).cpu().numpy()
    encoded = model.codec.encode(np.where(mask, given, blank)).to(model.device)  # what is not known lies on no level
    places = session.autoregressive.levels.places(encoded)
    return replace(session, places=places, known=torch.from_numpy(mask).to(model.device)).draw()


def late(shape: tuple[int, ...], known: np.ndarray | Tensor) -> int:
    """How many known values of an item of this shape come after its first unknown one in the order."""
    mask = _mask(shape, known)
    ordered = [bool(mask[(channel, *place)]) for *place, channel in order(shape)]
    return sum(ordered[ordered.index(False) :]) if False in ordered else 0


def _mask(shape: tuple[int, ...], known: np.ndarray | Tensor) -> np.ndarray:
    found = arguments.array(known, "known")
    if found.size and not np.isin(found, (0, 1)).all():
        raise Refused(f"known is 1 where known and 0 where not, and goes from {found.min():g} to {found.max():g}")
    try:
        return np.array(np.broadcast_to(found.astype(np.bool_), shape))
    except ValueError:
        raise Refused(f"known has the shape {found.shape}, and an item {shape}") from None
