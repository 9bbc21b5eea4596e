"""What a scheduler's configuration means: schedule, parameterization and sampler, and back."""

from collections.abc import Mapping
from typing import Any

from undiffuse.core.errors import Refused
from undiffuse.recipes.recipe import Recipe

FILE = "scheduler_config.json"
SCHEDULES = {"linear": "linear_beta", "scaled_linear": "scaled_linear_beta"}
PREDICTIONS = {"epsilon": "noise", "sample": "data", "v_prediction": "velocity"}
SAMPLERS: dict[str, dict[str, Any]] = {"DDPMScheduler": {"name": "ancestral"}, "DDIMScheduler": {"name": "ddim"}}


def tables(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables [schedule], [parameterization] and [sampler] of a recipe that mean the same as a configuration.

    said: with its `_class_name`. Raises Refused, naming the field, for what has no meaning here.
    """
    kind = said.get("beta_schedule", "linear")
    if kind not in SCHEDULES:
        raise Refused(f"this scheduler has beta_schedule = {kind!r}; known are {', '.join(SCHEDULES)}")
    prediction = said.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise Refused(f"this scheduler has prediction_type = {prediction!r}; known are {', '.join(PREDICTIONS)}")
    name = said.get("_class_name", "DDPMScheduler")
    if name not in SAMPLERS:
        raise Refused(f"{name} is no scheduler that is known here; known are {', '.join(SAMPLERS)}")
    return {
        "schedule": {
            "name": SCHEDULES[kind],
            "steps": said.get("num_train_timesteps", 1000),
            "beta_start": said.get("beta_start", 0.0001),
            "beta_end": said.get("beta_end", 0.02),
        },
        "parameterization": {"name": PREDICTIONS[prediction]},
        "sampler": {**SAMPLERS[name], "grid": said.get("timestep_spacing", "leading"), "steps": 50},
    }


def config(recipe: Recipe) -> dict[str, Any]:
    """The configuration, with its `_class_name`, of the scheduler that does what a recipe says.

    Raises Refused, naming the table, for what no scheduler of diffusers does.
    """
    schedule = recipe.component("schedule")
    names = {ours: theirs for theirs, ours in SCHEDULES.items()}
    if recipe["schedule"]["name"] not in names:
        raise Refused(f"schedule {recipe['schedule']['name']!r}: schedulers of diffusers have {', '.join(names)}")
    means = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    if recipe["parameterization"]["name"] not in means:
        raise Refused(
            f"parameterization {recipe['parameterization']['name']!r}: schedulers of diffusers have {', '.join(means)}"
        )
    return {
        "_class_name": "DDIMScheduler",
        "_diffusers_version": "0.30.0",
        "num_train_timesteps": schedule.steps,
        "beta_schedule": names[recipe["schedule"]["name"]],
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "prediction_type": means[recipe["parameterization"]["name"]],
        "clip_sample": False,
        "steps_offset": 0,
        "timestep_spacing": "leading",
    }
