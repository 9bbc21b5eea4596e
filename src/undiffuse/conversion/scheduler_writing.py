"""The configuration of the scheduler of diffusers that does what a recipe says."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from undiffuse.conversion.pipeline_source import SCHEDULER
from undiffuse.conversion.scheduler import PREDICTIONS, VARIANCES, tables
from undiffuse.conversion.scheduler_classes import CLASSES
from undiffuse.conversion.writing import write_config
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.schedule import Schedule
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.plan import recipe_defaults, resolved_grid
from undiffuse.sampling.threshold import OFF, STATIC

SAMPLERS = {
    "ancestral": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "multistep": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "plms": "PNDMScheduler",
}
NOISES = {("rho", 4): "LMSDiscreteScheduler"}  # deis by what its noise is a polynomial of, and its order
NOISES |= {("log_rho", order): "DEISMultistepScheduler" for order in (1, 2, 3)}
CLIPPING = ("clip_sample", "thresholding")  # fields that keep guesses within [-1, 1]; the second up to 1 at most
LEFT_OUT = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
SPACINGS = ("leading", "trailing", "linspace")
ROUNDING = 1e-9
STEPS, NEAR = 10, 1e-6  # at which two grids are the same


def config(recipe: Recipe) -> dict[str, Any]:
    """The configuration, with its `_class_name`; samplers that diffusers has not become a DDIMScheduler, and grids that
    it has not are spaced "trailing": neither is part of what was trained.

    Raises Refused, naming the table, for a schedule or a parameterization that no scheduler of diffusers has, and for
    guesses within bounds where the sampler's scheduler has no such thing.
    """
    names = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    prediction = registry.name_of(recipe.component("parameterization"))
    if prediction not in names:
        raise Refused(f"parameterization {prediction!r}: schedulers of diffusers have {', '.join(names)}")
    asked: Any = recipe_defaults(recipe)
    sampler = registry.name_of(asked.sampler) if asked.sampler is not None else ""
    made = _fields(asked.sampler)
    kind = NOISES.get((made["variable"], made["order"])) if sampler == "deis" else SAMPLERS.get(sampler)
    kind = kind if kind and made.get("eta", 0) in (0, 1) else "DDIMScheduler"
    bounded = bool(recipe["denoiser"].get("bounded")) and recipe.component("codec").bounds is not None
    said = {
        "_class_name": kind,
        "_diffusers_version": "0.30.0",
        **_betas(recipe.component("schedule")),
        "prediction_type": names[prediction],
        **_own(kind, asked.sampler),
        **_clipping(kind, sampler, bounded, asked.threshold),
    }
    return said | _spacing(said, asked.grid, recipe.component("schedule"))


def write(recipe: Recipe, folder: Path) -> str:
    """Write it as the part `scheduler` of a pipeline's folder; returns the name of its class."""
    said = config(recipe)
    write_config(folder / "scheduler", said, SCHEDULER)
    return str(said["_class_name"])


def _betas(schedule: Schedule) -> dict[str, Any]:
    """The table, by the name of its law or number by number."""
    kind, made = registry.name_of(schedule), _fields(schedule)
    ends = {name: made[name] for name in ("beta_start", "beta_end") if name in made}
    if kind in ("linear_beta", "scaled_linear_beta"):
        return {"num_train_timesteps": schedule.steps, "beta_schedule": kind.removesuffix("_beta"), **ends}
    if kind == "cosine" and (made["offset"], made["max_beta"]) == (0.008, 0.999):
        return {"num_train_timesteps": schedule.steps, "beta_schedule": "squaredcos_cap_v2"}
    steps = schedule.steps or 1000
    alpha, sigma = schedule.both(torch.arange(steps + 1, dtype=torch.float64) / steps)
    if float((alpha**2 + sigma**2 - 1).abs().max()) > ROUNDING:
        raise Refused(f"schedule {kind!r}: schedulers of diffusers have alpha^2 + sigma^2 = 1 at every step")
    if made.get("betas"):
        zero = {"rescale_betas_zero_snr": True} if made["zero_terminal_snr"] else {}
        return {"num_train_timesteps": steps, "trained_betas": list(made["betas"]), **zero}
    bars = alpha**2
    return {"num_train_timesteps": steps, "trained_betas": (1 - bars[1:] / bars[:-1]).tolist()}


def _clipping(kind: str, sampler: str, bounded: bool, threshold: str | None) -> dict[str, Any]:
    """The field that keeps guesses within bounds; raises Refused where it is asked for and there is none."""
    asked = "denoiser.bounded" if bounded else "" if threshold in (None, OFF) else f"sampler.threshold = {threshold!r}"
    field = next((field for field in CLIPPING if field in CLASSES[kind].fields), "")
    if asked and (not field or not (bounded or threshold == STATIC)):
        able = [ours for ours, theirs in SAMPLERS.items() if not {*CLIPPING}.isdisjoint(CLASSES[theirs].fields)]
        raise Refused(
            f"{asked} with sampler {sampler!r}: schedulers of diffusers keep guesses within fixed bounds, those of the "
            f"samplers {', '.join(able)}"
        )
    return {field: bool(asked)} if field else {}


def _spacing(rest: dict[str, Any], grid: Any, schedule: Schedule) -> dict[str, Any]:
    """How steps are spaced on the table; rest: all other fields."""
    name, kind = registry.name_of(grid) if grid is not None else "", rest["_class_name"]
    made, known = _fields(grid), CLASSES[kind]
    levels = {"karras": "use_karras_sigmas", "log_snr": "use_exponential_sigmas"}
    if grid is not None and name in levels and known.levelled:
        levelled = {"timestep_spacing": "linspace", levels[name]: True}
        read = resolved_grid(tables({**rest, **levelled})["sampler"]["grid"])
        same = torch.allclose(read(schedule, STEPS), grid(schedule, STEPS), rtol=0, atol=NEAR)
        return levelled if same else {"timestep_spacing": "trailing"}
    spacing = made.get("spacing", name)
    rounded = spacing != "linspace" or made.get("rounded", True) == known.rounded
    same = rounded and made.get("left_out", 0) == known.left_out
    said: dict[str, Any] = {"timestep_spacing": spacing if spacing in SPACINGS and same else "trailing"}
    if made.get("offset"):
        said["steps_offset"] = made["offset"]
    if kind in ("DDIMScheduler", "PNDMScheduler"):
        said["set_alpha_to_one"] = not made.get("first", False)
    elif made.get("first") and kind in ("EulerDiscreteScheduler", *LEFT_OUT):
        said["final_sigmas_type"] = "sigma_min"
        said |= {"lower_order_final": False} if kind in LEFT_OUT else {}
    return said


def _own(kind: str, sampler: Any) -> dict[str, Any]:
    """Fields of the scheduler's own."""
    made = _fields(sampler)
    if kind == "DDPMScheduler":
        theirs = {ours: theirs for theirs, ours in reversed(VARIANCES.items())}
        return {"variance_type": theirs.get(made["variance"], "fixed_small")}
    if kind == "DPMSolverMultistepScheduler":
        algorithm = "sde-dpmsolver++" if made["eta"] else "dpmsolver++"
        return {"solver_order": made["order"], "algorithm_type": algorithm, "solver_type": "midpoint"}
    if kind == "UniPCMultistepScheduler":
        return {"solver_order": made["order"], "solver_type": made["variant"]}
    if kind == "DEISMultistepScheduler":
        return {"solver_order": made["order"], "lower_order_final": False}
    return {"skip_prk_steps": True} if kind == "PNDMScheduler" else {}


def _fields(component: Any) -> dict[str, Any]:
    """What a component was made with; nothing of none."""
    return {} if component is None else {each.name: getattr(component, each.name) for each in fields(component)}
