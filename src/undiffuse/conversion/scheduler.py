"""What a scheduler's configuration means: schedule, parameterization and sampler, each field understood or refused."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from undiffuse.conversion.scheduler_classes import CLASSES, EVERY, FREE, OFF, SchedulerClass
from undiffuse.core import registry
from undiffuse.core.errors import Refused, near

SCHEDULES = {"linear": "linear_beta", "scaled_linear": "scaled_linear_beta", "squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "noise", "sample": "data", "v_prediction": "velocity"}
VARIANCES = {
    "fixed_small": "posterior",
    "fixed_small_log": "posterior",
    "fixed_large": "beta",
    "learned_range": "learned",
}
MOST = 4096.0  # sigma/alpha, which a scheduler takes for a table that ends without signal
STEPS = {"ancestral": 1000}  # of pipelines where nobody says; elsewhere 50


def tables(said: Mapping[str, Any], bounded: bool = True) -> dict[str, dict[str, Any]]:
    """The tables [schedule], [parameterization], [sampler] and where it is needed [denoiser] of a recipe that mean the
    same as a configuration.

    said: with its `_class_name`; fields of other schedulers, which this one does not read, mean nothing. bounded:
    whether data lie in [-1, 1], to which guesses can be clipped. Raises Refused, naming the field, for what has no
    meaning here.
    """
    name = str(said.get("_class_name", ""))
    if name not in CLASSES:
        raise Refused(
            f"{name or 'the scheduler names no class, and'} is none that is known here{near(name, CLASSES)}; known are "
            f"{', '.join(CLASSES)}"
        )
    known = CLASSES[name]
    c = _checked(name, known, {field: value for field, value in said.items() if not field.startswith("_")})
    _refuse_lowered(name, known, said)
    schedule = _schedule(name, c)
    sampler = {**known.sampler, **{ours: c[theirs] for theirs, ours in known.setting.items()}}
    found = {"schedule": schedule, "parameterization": {"name": PREDICTIONS[c["prediction_type"]]}}
    if known.sampler["name"] == "multistep" and c["algorithm_type"] == "sde-dpmsolver++":
        sampler["eta"] = 1.0
    variance = c.get("variance_type")
    if variance in ("learned", "learned_range"):
        found["denoiser"] = {"variance": "learned_range"}
    if variance is not None and known.sampler["name"] == "ancestral":
        sampler["variance"] = VARIANCES[variance]
    threshold = {"threshold": "static"} if _clips(name, c, bounded) else {}
    steps = STEPS.get(sampler["name"], 50)
    return found | {"sampler": {**sampler, "grid": _grid(name, known, c, schedule), "steps": steps, **threshold}}


def _checked(name: str, known: SchedulerClass, said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that mean something, those that are left out as the class takes them."""
    for field, value in said.items():
        if field not in EVERY:
            raise Refused(f"this {name} has {field} = {value!r}, which no scheduler that is known here has")
        able = known.only.get(field) or OFF.get(field)
        if field in known.known and field not in (*known.fields, *FREE) and able and value not in able:
            raise Refused(f"this {name} has {field} = {value!r}; known is only {' or '.join(map(repr, able))}")
    c = {**known.fields, **{field: value for field, value in said.items() if field in known.fields}}
    for field, able in (
        ("prediction_type", PREDICTIONS),
        ("timestep_spacing", ("leading", "trailing", "linspace")),
        ("final_sigmas_type", ("zero", "sigma_min")),
        ("algorithm_type", ("dpmsolver++", "sde-dpmsolver++")),
        ("variance_type", (None, *VARIANCES)),
    ):
        if field in c and c[field] not in able:
            raise Refused(f"this {name} has {field} = {c[field]!r}; known are {', '.join(map(str, able))}")
    return c


def _refuse_lowered(name: str, known: SchedulerClass, said: Mapping[str, Any]) -> None:
    """Raises Refused where the last steps have a lower order although they do not land on data, as none of ours has."""
    field, usual = known.lowered or ("", False)
    if said.get("final_sigmas_type") == "sigma_min" and said.get("solver_order", 2) > 1 and said.get(field, usual):
        raise Refused(
            f"this {name} has {field} = true beside final_sigmas_type = 'sigma_min', which lowers the order at "
            f"the end: set {field} = false"
        )


def _schedule(name: str, c: Mapping[str, Any]) -> dict[str, Any]:
    """The table [schedule]."""
    zero = bool(c.get("rescale_betas_zero_snr"))
    betas, kind = c["trained_betas"], c["beta_schedule"]
    if betas is None and kind not in SCHEDULES:
        raise Refused(f"this {name} has beta_schedule = {kind!r}; known are {', '.join(SCHEDULES)}, and trained_betas")
    ends = {} if kind == "squaredcos_cap_v2" else {end: c[end] for end in ("beta_start", "beta_end")}
    named = {"name": SCHEDULES.get(kind, ""), "steps": c["num_train_timesteps"], **ends}
    if betas is None and not zero:
        registry.build("schedules", named)
        return named
    if betas is None:
        bars = registry.build("schedules", named).table()
        betas = [1 - float(bar / before) for bar, before in zip(bars, [1.0, *bars[:-1]], strict=True)]
    elif len(betas) != c["num_train_timesteps"]:
        raise Refused(
            f"this {name} has {len(betas)} trained_betas for num_train_timesteps = {c['num_train_timesteps']}"
        )
    return {"name": "table", "betas": list(betas), **({"zero_terminal_snr": True} if zero else {})}


def _clips(name: str, c: Mapping[str, Any], bounded: bool) -> bool:
    """Whether guesses are clipped to [-1, 1]."""
    clips, thresholds = bool(c.get("clip_sample")), bool(c.get("thresholding"))
    for asked, field in ((clips, "clip_sample_range"), (thresholds, "sample_max_value")):
        if asked and c[field] != 1:
            raise Refused(f"this {name} clips guesses by {field} = {c[field]!r}; known is only 1, the range of pixels")
    if (clips or thresholds) and not bounded:
        field = "clip_sample" if clips else "thresholding"
        raise Refused(f"this {name} has {field} = true, and latents, which it would clip, go beyond [-1, 1]: set false")
    return clips or thresholds


def _grid(name: str, known: SchedulerClass, c: Mapping[str, Any], schedule: Mapping[str, Any]) -> Any:
    """The sampler's grid, by its name alone where that says all."""
    spacing, offset = c.get("timestep_spacing", "linspace"), c.get("steps_offset", 0)
    first = known.first or c.get("set_alpha_to_one") is False or c.get("final_sigmas_type") == "sigma_min"
    levels = [field for field in ("use_karras_sigmas", "use_exponential_sigmas", "use_lu_lambdas") if c.get(field)]
    if not levels:
        own = {"offset": offset} if spacing == "leading" and offset else {}
        own |= {"left_out": known.left_out} if spacing != "trailing" and known.left_out else {}
        own |= {"rounded": False} if spacing == "linspace" and not known.rounded else {}
        own |= {"first": True} if first else {}
        if first and known.left_out == 0 and (spacing == "linspace" or (spacing == "leading" and not offset)):
            field = "set_alpha_to_one" if "set_alpha_to_one" in c else "final_sigmas_type"
            raise Refused(
                f"this {name} has {field} = {c[field]!r} and ends where its last step begins, on the table's first "
                "entry: set steps_offset = 1 with timestep_spacing = 'leading'"
            )
        return {"name": "timesteps", "spacing": spacing, **own} if own else spacing
    if len(levels) > 1 or first or (known.left_out == 0 and spacing != "linspace"):
        other = levels[1] if levels[1:] else "other ends of its noise"
        raise Refused(
            f"this {name} has {levels[0]} = true beside {other}: known is it alone, with timestep_spacing = 'linspace' "
            "and final_sigmas_type = 'zero'"
        )
    made = registry.build("schedules", dict(schedule))
    low, high = (-made.log_snr(torch.tensor([1 / made.steps, 1.0], dtype=torch.float64)) / 2).exp().tolist()
    high = high if math.isfinite(high) else MOST
    if levels[0] == "use_karras_sigmas":
        return {"name": "karras", "sigma_min": low, "sigma_max": high}
    return {"name": "log_snr", "t_min": 1 / made.steps, "limit": 2 * math.log(max(high, 1 / low))}
