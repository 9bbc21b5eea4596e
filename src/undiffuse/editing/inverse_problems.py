"""In-painting and restoration: samples that agree with what is known of an item."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.sampler import Sampler
from undiffuse.editing.by_stage import by_stage, known_blocks
from undiffuse.editing.given import encoded, item, opened, refuse_uneditable, unit
from undiffuse.guidance.dps import DPS
from undiffuse.guidance.inpaint import Inpaint
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.mmps import MMPS
from undiffuse.guidance.particles import Particles
from undiffuse.guidance.pigdm import PiGDM
from undiffuse.guidance.repaint import RePaint
from undiffuse.operators.mask import Mask
from undiffuse.samplers.ancestral import Ancestral
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session

STD = 0.01  # of a measurement that is taken for exact, in encoded units: about one grey level of 8 bit
PARTICLES = 16


@dataclass(frozen=True)
class Method:
    """How one method changes the denoiser and the sampler. particles: how many make one sample."""

    change: Callable[[Denoiser, Sampler, Measurement], tuple[Denoiser, Sampler]]
    particles: int = 1


METHODS: dict[str, Method] = {
    "mmps": Method(lambda denoiser, sampler, known: (MMPS(denoiser, known), sampler)),
    "pigdm": Method(lambda denoiser, sampler, known: (PiGDM(denoiser, known), sampler)),
    "dps": Method(lambda denoiser, sampler, known: (denoiser, DPS(Ancestral(), known))),
    "particles": Method(
        lambda denoiser, sampler, known: (
            denoiser,
            Particles(Ancestral(), known, PARTICLES, proposal=MMPS(denoiser, known)),
        ),
        PARTICLES,
    ),
}
REPLACING = ("replace", "repaint")  # for masks only
NETWORK = "network"  # for masks, of a run that was trained to paint in: its network is told the hole


@devices.on_cpu()
def restore(
    model: DenoisingGenerator,
    y: np.ndarray | Tensor,
    operator: Callable[[Tensor], Tensor],
    std: float = 0.0,
    method: str = "mmps",
    n: int = 1,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """n samples of which y is the measurement operator(x) + noise, in the data's units: (n, *shape).

    operator: of encoded items, from `undiffuse.guidance.operators` or your own; y: what it gives for one item, in the
    data's units and encoded as items are. std: of the noise, in the data's units; at least STD encoded ones are taken.
    method: one of METHODS.
    request, options: as in `Generator.sample`. Raises Refused for an unknown method and for a y that the operator
    cannot have made.
    """
    if not callable(operator):
        given = arguments.shown(operator)
        raise Refused(f"operator is a function of encoded items, such as one of guidance.operators, not {given}")
    session, scale = opened(model, request, options, n), unit(model)
    with torch.no_grad():
        wanted = tuple(operator(torch.zeros(1, *model.shape, dtype=torch.float32, device=model.device)).shape[1:])
    known, std = encoded(model, y, "y", wanted, real=True), arguments.number(std, "std")
    if std < 0:
        raise Refused(f"std, of a measurement's noise, is 0 or more, not {std:g}")
    return session.decoded(_posterior(session, Measurement(operator, known, max(std * scale, STD)), method))


@devices.on_cpu()
def inpaint(
    model: Generator,
    image: np.ndarray | Tensor,
    mask: np.ndarray | Tensor,
    method: str | None = None,
    n: int = 1,
    request: SampleRequest | None = None,
    **options: Any,
) -> Tensor:
    """n samples that have an item's known part, in the data's units: (n, *shape); that part comes out as it went in.

    mask: 1 where known, of the item's shape or one that broadcasts to it; a latent is known where all that it stands
    for is, and of a chain, whose stages paint at their own sizes, a block of pixels likewise. method: one of METHODS,
    "replace" or "repaint", or "network", see `usual_method`. request, options: as in `Generator.sample`. Raises
    Refused for an unknown method and, with both shapes, a mask that does not fit.
    """
    refuse_uneditable(model)
    if model.stages:

        def edit(run: Any, x: Tensor, by: int, **how: Any) -> Tensor:
            return inpaint(run, x, known_blocks(mask, by, x), method, **how)

        return by_stage(model, edit, image, n, request, options)
    method = method or usual_method(model)
    session = None if method == NETWORK else opened(model, request, options, n)
    whole = item(model, image, "image")
    known = arguments.array(mask, "mask")
    if known.size and not 0 <= known.min() <= known.max() <= 1:
        raise Refused(f"mask is 1 where known and 0 where not, and goes from {known.min():g} to {known.max():g}")
    shown = Mask(torch.as_tensor(known.astype(np.float32)))
    shown(torch.as_tensor(whole))
    if known.size and known.min() > 0:
        raise Refused("mask is empty: every number of the item is known, and nothing is to be painted")
    if session is None:
        told = {_told(model): _with_hole(whole, shown.mask)}
        session = opened(model, request, options | told, n)
        return _pasted(session, session.encoded(), shown.mask, whole)
    x = model.codec.encode(whole).to(model.device)
    keep = Mask(model.codec.known(shown.mask).to(x))
    seen = keep(x)
    if method == "replace":
        z = replace(session, sampler=Inpaint(session.sampler, x, keep.mask)).encoded()
    elif method == "repaint":
        z = replace(session, sampler=RePaint(session.sampler, x, keep.mask, jump=1)).encoded()
    else:
        z = _posterior(session, Measurement(keep, seen, STD), method)
    return _pasted(session, z, shown.mask, whole)


def usual_method(model: Generator) -> str:
    """How the model paints in where nobody says it: by its network's own input, if it has one, else by MMPS."""
    return NETWORK if any(kind.paints for kind in model.conditions.values()) else "mmps"


def _told(model: Generator) -> str:
    """The condition that tells the network the hole; raises Refused where it has none."""
    found = next((name for name, kind in model.conditions.items() if kind.paints), None)
    if found is None:
        others = ", ".join((*METHODS, *REPLACING))
        raise Refused(f"method = {NETWORK!r} needs a run that was trained to paint in; of this one there are {others}")
    return found


def _with_hole(whole: np.ndarray, mask: Tensor) -> np.ndarray:
    """A picture (1, channels, ...) that is black in the hole, and one channel more that is 0 there, else white."""
    white = np.iinfo(whole.dtype).max if whole.dtype.kind in "iu" else 1
    there = np.asarray(np.broadcast_to(mask.numpy() > 0, whole.shape)).all(axis=1, keepdims=True)
    return np.concatenate([whole * there, there * white], axis=1).astype(whole.dtype)


def _pasted(session: Session, z: Tensor, mask: Tensor, whole: np.ndarray) -> Tensor:
    """The decoded samples with the known part as it was."""
    drawn = session.decoded(z)
    return torch.where(mask > 0, torch.as_tensor(whole).to(drawn), drawn)


def _posterior(session: Session, known: Measurement, method: str) -> Tensor:
    if arguments.text(method, "method") not in METHODS:
        raise unknown("the method of restoration", method, (*METHODS, *REPLACING))
    chosen = METHODS[method]
    denoiser, sampler = chosen.change(session.denoiser, session.sampler, known)
    return replace(session, denoiser=denoiser, sampler=sampler, particles=chosen.particles).encoded()
