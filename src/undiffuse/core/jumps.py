"""What a denoiser can be asked to land on, and how a network is told where a step goes and how strongly to guide."""

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.condition_dropout import drop_mask
from undiffuse.core.errors import Refused
from undiffuse.core.schedule import ROUNDING, Schedule, as_time

Jumps = Literal["none", "data", "fixed", "any"]
TO: Final = "to"  # conditions of networks, vectors both; they are never dropped, and their layers start at zero
GUIDANCE: Final = "guidance"
TOLD: Final = (TO, GUIDANCE)
WORDS: Final[Mapping[str, str]] = {
    "none": "an ordinary denoiser, whose guess is the mean of the data",
    "data": "a consistency function, whose guess is where the path ends",
    "fixed": "a student of one grid of times, whose guess lands at the next of them",
    "any": "a flow map, which jumps from any time to any earlier one",
}
SAMPLERS: Final[Mapping[str, Mapping[str, Any]]] = {  # what samples them when nobody says
    "data": {"name": "jump", "fresh": 1.0},
    "fixed": {"name": "ddim"},
    "any": {"name": "jump"},
}
ADVICE: Final[Mapping[str, str]] = {
    "none": "take ddim or ancestral",
    "data": "take renoise",
    "fixed": "take ddim on the times that it was trained for",
    "any": "take jump",
}
NO_DENSITY: Final[Mapping[str, str]] = {
    "none": "",
    "data": "a consistency function guesses where a path ends, not the mean of the data",
    "fixed": "a student of few steps guesses what its next step needs, not the mean of the data",
    "any": "a flow map was trained to jump, and its guesses need not be the means of any one density",
}
WAVES: Final = (1, 2, 4, 8)
PAIR: Final = 1 + 4 * len(WAVES)  # numbers that say (t, s)
WEIGHT: Final = 1 + 2 * len(WAVES)  # numbers that say a guidance weight


def conditions(jumps: str, guidance_input: tuple[float, float] | None) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The conditions of a network, by name their form and shape, that tell it where a step goes and the weight."""
    where = {TO: ("vector", (PAIR,))} if jumps == "any" else {}
    return {**where, **({GUIDANCE: ("vector", (WEIGHT,))} if guidance_input else {})}


def pair_features(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Smooth numbers of two times, (..., PAIR) in float64, all 0 where s = t.

    With the angles phi = atan2(sigma, alpha) and d = phi(t) - phi(s): d, sin(k d), 1 - cos(k d), and sin(d) times
    cos(2 k phi(s)) and sin(2 k phi(s)), for k in `WAVES`.
    """
    at, to = (torch.atan2(*reversed(schedule.both(each)))[..., None] for each in (t, s))
    waves = torch.tensor(WAVES, dtype=torch.float64, device=at.device)
    difference = at - to
    far, here = waves * difference, 2 * waves * to
    end = torch.cat([here.cos(), here.sin()], dim=-1)
    return torch.cat([difference, far.sin(), 1 - far.cos(), difference.sin() * end], dim=-1)


def weight_features(weight: Tensor) -> Tensor:
    """Smooth numbers of a guidance weight from 0 on, (..., WEIGHT) in float64, all 0 for the weight 1."""
    waves = torch.tensor(WAVES, dtype=torch.float64, device=weight.device)
    level = torch.log1p(weight)[..., None] - math.log(2)
    return torch.cat([level, (waves * level).sin(), 1 - (waves * level).cos()], dim=-1)


def told(
    denoiser: Any, x: Tensor, t: Tensor, to: Tensor | float | None, guidance: Tensor | float | None
) -> dict[str, Tensor]:
    """What the network of a predictor is told of a batch x beside the conditions, (batch, ...) float32 each.

    Raises Refused for a place to land on, or a guidance weight, that the model was not trained with.
    """
    refuse(denoiser.jumps, to)
    found: dict[str, Tensor] = {}
    if denoiser.jumps == "any":
        s = t if to is None else as_time(to)
        found[TO] = pair_features(denoiser.process.schedule, t, s.to(t.device))
    if denoiser.guidance_input:
        found[GUIDANCE] = weight_features(within(denoiser.guidance_input, guidance))
    elif guidance is not None:
        raise Refused(
            "this model was not trained with the guidance weight as an input (denoiser.guidance_input): guide "
            "it by classifier-free guidance"
        )
    return {name: each.to(x.device, torch.float32).expand(len(x), each.shape[-1]) for name, each in found.items()}


def within(known: tuple[float, float], guidance: Tensor | float | None) -> Tensor:
    """A guidance weight that is an input, in float64; None: 1, or what is nearest to it.

    Raises Refused, by name, for one outside the range of training, as far as can be seen without waiting for a GPU.
    """
    low, high = known
    weight = torch.as_tensor(min(max(1.0, low), high) if guidance is None else guidance, dtype=torch.float64)
    if weight.device.type == "cpu" and not bool(((weight >= low) & (weight <= high)).all()):
        wrong = float(weight.min() if bool((weight < low).any()) else weight.max())
        raise Refused(f"guidance = {wrong:g}: this model was trained with weights from {low:g} to {high:g}")
    return weight


def undropped(cond: Mapping[str, Any], told: Mapping[str, Tensor]) -> dict[str, Any]:
    """The conditions with what the network is told, which `drop` says nothing of."""
    drop = cond.get("drop")
    if drop is None:
        return {**cond, **told}
    names = [name for name in cond if name != "drop"]
    return {**cond, "drop": {name: where for name in names if (where := drop_mask(drop, name)) is not None}, **told}


def refuse(jumps: str, to: Tensor | float | None) -> None:
    """Raises Refused, by name, for a place to land on that such guesses do not know."""
    if to is None or jumps in ("any", "fixed"):
        return
    if jumps == "none":
        raise Refused(
            f"this model is {WORDS[jumps]}: it was not trained to jump (denoiser.jumps = 'none'), so it takes no `to`"
        )
    to = torch.as_tensor(to)
    if to.device.type == "cpu" and bool((to != 0).any()):
        raise Refused(f"this model is {WORDS[jumps]}: it jumps to 0 alone, not to {float(to.max()):g}")


def check(sampler: Any, denoiser: Any, times: Tensor) -> None:
    """Raises Refused, by name, for a sampler that cannot use what this denoiser guesses, or that has one inside it, and
    for times (steps + 1,) that are not the last of the one grid that it knows.
    """
    if denoiser.jumps not in sampler.jumps:
        raise Refused(
            f"{registry.name_of(sampler)} needs guesses that are means of the data, and this model is "
            f"{WORDS[denoiser.jumps]}: {ADVICE[denoiser.jumps]}"
        )
    if sampler.inner is not None:
        check(sampler.inner, denoiser, times)
    if (known := denoiser.jump_times) and not _last(times, torch.tensor(known, dtype=torch.float64)):
        raise Refused(
            f"this model was trained for {len(known) - 1} steps on one grid, {', '.join(f'{t:.4g}' for t in known)}, "
            f"and takes no other: leave steps and grid away (asked for: {len(times) - 1} steps)"
        )


def _last(times: Tensor, known: Tensor) -> bool:
    """Whether these times are the last of the known ones, to rounding."""
    wide = known.reshape(-1, *(1,) * (times.ndim - 1))[-len(times) :]
    return len(times) <= len(known) and bool(((times - wide).abs() <= ROUNDING).all())


def default_sampler(denoiser: Any) -> Any:
    """The sampler of a denoiser when nobody says which."""
    return registry.build("samplers", SAMPLERS.get(denoiser.jumps, {"name": denoiser.process.default_sampler}))
