"""Distillation: the recipe of a student of few steps, written from its teacher's, and its training prepared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from undiffuse.core import registry
from undiffuse.core.arguments import number, shown, whole
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.jumps import WORDS
from undiffuse.models.load import denoising
from undiffuse.progress import LOGGER
from undiffuse.recipes.recipe import Recipe, is_run
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.guidance import resolve_guidance
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.threshold import OFF, bounds, percentile
from undiffuse.training.angle_width import angle_width
from undiffuse.training.loop import Training
from undiffuse.training.start import train

Guidance = float | tuple[float, float]
KEPT = ("data", "codec", "process", "schedule", "network", "parameterization", "conditions", "optimiser")
PARTED = ("jumps",)  # fields of the teacher's [denoiser] that the method says anew


def distill(
    run: str | Path,
    method: str,
    to: int,
    *,
    out: str | Path,
    steps: int | None = None,
    guidance: Guidance | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
) -> Training[Any]:
    """Prepare the training of a student that samples in `to` steps, as `train` does; call its `run()`.

    run: the teacher's folder. method: an objective that distils, such as "progressive". out: the student's folder, in
    which its whole recipe is: `undiffuse train OUT --resume` goes on with it. steps: of training, default the
    teacher's. guidance: the weight that the student has built in, or the range of weights of which it takes one as an
    input; default as the teacher's recipe says. overrides: settings of the student's recipe. resume: see `train`.
    Raises Refused as `train` does, for methods that are none, steps and guidance that a method cannot do, and for runs
    that are no teacher.
    """
    begun: Any = Recipe.find(Path(out))["sampler"].get("grid", {}) if resume and is_run(Path(out)) else {}
    recipe = student(run, method, to, steps, guidance, begun.get("data_std"))
    return train(recipe, out=out, overrides=overrides, resume=resume)


def student(
    run: str | Path,
    method: str,
    to: int,
    steps: int | None = None,
    guidance: Guidance | None = None,
    width: float | None = None,
) -> Recipe:
    """The recipe of the student; arguments and errors: see `distill`.

    width: of its grid `angle`, by default the measured one.
    """
    table = registry.canonical("objectives", {"name": method})
    methods = [name for name in registry.names("objectives") if registry.constant("objectives", name, "distils", False)]
    if table["name"] not in methods:
        raise unknown("distillation", method, methods)
    if (count := whole(to, "to")) < 1:
        raise Refused(f"to is how many steps the student takes, 1 or more, not {count}")
    teacher = denoising(run, "float32", "cpu")
    tables, folder = teacher.recipe.tables, str(run)
    weights = _weights(guidance)
    asked, settings = _guided(teacher, folder, weights)
    objective: Any = registry.get("objectives", str(table["name"]))
    made = objective.student(tables, folder, asked, count)
    if teacher.denoiser.jumps == "any" and made.get("denoiser", {}).get("jumps") != "any":
        raise Refused(
            f"{folder} is {WORDS['any']}, and a student by {table['name']} is none: take the run that it was made "
            "from, or go on from its weights by --method mean_flow or shortcut"
        )
    if asked != folder and made["objective"].get("teacher") != asked and "guidance" not in made["objective"]:
        if guidance is not None:
            raise Refused(f"{table['name']} asks its teacher for no guesses, and so learns no guidance: leave it out")
        LOGGER.warning("%s samples with guidance or a threshold, which %s does not learn", folder, table["name"])
    able = teacher.denoiser.jumps == "none" and teacher.denoiser.process.family in objective.families
    if able and made["sampler"].get("grid", {}).get("name") == "angle":
        std, weight = made["objective"]["data_std"], weights[-1] if weights else None
        made = _widened(made, angle_width(teacher, std, weight) if width is None else width)
    own = {name: value for name, value in tables.get("denoiser", {}).items() if name not in PARTED}
    said = {"steps": whole(steps, "steps")} if steps is not None else {}
    written = {
        **{name: tables[name] for name in KEPT if name in tables},
        **made,
        "denoiser": {**own, **settings, **made.get("denoiser", {})},
        "objective": {**made["objective"], **{name: value for name, value in table.items() if name != "name"}},
        "train": {**tables["train"], **made.get("train", {}), **said},
    }
    about = f"A student of {Path(run).name} in {count} step{'s' * (count > 1)}, by {table['name']}"
    kind = teacher.recipe.kind
    recipe = Recipe.of(f"{Path(run).resolve().name}-{count}", {"about": about, "kind": kind, **written})
    return replace(recipe, arrays=teacher.recipe.arrays)


def _widened(made: Mapping[str, Any], width: float) -> dict[str, Any]:
    """The student's tables, whose steps are even in the angle of this width."""
    grid = {"name": "angle", "data_std": width}
    return {**made, **{table: {**made[table], "grid": grid} for table in ("objective", "sampler")}}


def _guided(teacher: DenoisingGenerator, folder: str, weights: tuple[float, ...]) -> tuple[Any, dict[str, Any]]:
    """What the student's recipe names as its teacher, the run or guidance around it, and what [denoiser] says of it."""
    if teacher.denoiser.guidance_input is not None:
        if weights:
            raise Refused(f"{folder} takes the guidance weight as an input, and so does its student: leave it out")
        return folder, {}
    request = SampleRequest(guidance=weights[-1] if weights else None)
    found = resolve_guidance(teacher, request, list(teacher.conditions))
    if found.weaker is not None and found.guidance != 1:
        raise Refused(f"{folder} is guided away from a weaker run, which no student learns: give guidance 1")
    able = [name for name, condition in teacher.conditions.items() if condition.drop > 0]
    how: dict[str, Any] = {"interval": found.interval, "rescale": found.rescale or None}
    how |= {} if len(able) == len(teacher.conditions) else {"hide": able}
    how = {"denoiser": folder, **{name: value for name, value in how.items() if value is not None}}
    asked: Any = folder
    if len(weights) == 2:
        asked = {"name": "classifier_free_input", **how}
    elif found.guidance not in (None, 1):
        asked = {"name": "classifier_free", **how, "weight": found.guidance}
    if (threshold := found.threshold) not in (None, OFF):
        share = percentile(threshold)
        clipped = {"name": "threshold", "denoiser": asked, "bounds": list(bounds(teacher.codec, str(threshold)))}
        asked = clipped if share is None else {**clipped, "percentile": share}
    return asked, {"guidance_input": list(weights)} if len(weights) == 2 else {}


def _weights(guidance: Any) -> tuple[float, ...]:
    """The weight, or the lowest and the highest; () where nobody says."""
    if guidance is None:
        return ()
    given = tuple(guidance) if isinstance(guidance, list | tuple) else (guidance,)
    found = tuple(number(each, "guidance") for each in given)
    if len(found) not in (1, 2) or (len(found) == 2 and not 0 <= found[0] < found[1]):
        raise Refused(f"guidance is one weight, as 3, or a range of weights from 0 on, as 1,4, not {shown(guidance)}")
    return found
