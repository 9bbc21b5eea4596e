"""The best reverse variance of a run, estimated on its training data, and the steps that lose least with it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from undiffuse.conditions.from_data import tensors
from undiffuse.core import devices, registry
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.data.derived_conditions import of_model
from undiffuse.data.paths import on
from undiffuse.guidance.optimal_steps import optimal_steps
from undiffuse.guidance.optimal_variance import OptimalVariance, estimated
from undiffuse.recipes import build
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.plan import batches
from undiffuse.storage.files import own, write_json
from undiffuse.training.run_lock import run_lock
from undiffuse.tuning.place import FOLDER, draw, tunable
from undiffuse.tuning.place import keep as keep_

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE, CURVE = "variance.json", "variance.png"
POINTS, COUNT, RANGE = 100, 500, 20.0  # times, data at each, and the largest log-SNR
STREAM = 6  # its stream of random numbers
CLIPPING = ("bounds", "clip_mean", "late", "late_std")  # fields of OptimalVariance that a person chooses


@dataclass(frozen=True)
class Estimate:
    """E Var(x_0 given x_t) at each of the times, which rise; clipping: the other fields of `OptimalVariance`.

    steps: the grid that loses least, falling to 0, where one was asked for.
    """

    times: tuple[float, ...]
    variances: tuple[float, ...]
    log_snr: tuple[float, ...]
    rule: str
    count: int
    clipping: Mapping[str, Any]
    steps: tuple[float, ...] = ()


@devices.on_cpu()
def variance(
    run: Path,
    *,
    rule: Literal["error", "score"] = "error",
    points: int = POINTS,
    count: int = COUNT,
    settings: Sequence[str] = (),
    steps: int | None = None,
    keep: bool = False,
    data: str | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Estimate:
    """Estimate the best variance at `points` noise levels, even in log-SNR, with `count` training data at each.

    On a table only its own times are looked at: all of them where there are no more than points. rule: see `estimated`.
    settings: `field=value` of CLIPPING; bounds are the range of the data looked at, where nobody says. steps: find the
    sub-sequence of so many of the times as well. keep: store it with the model, for the variance "exact" of samplers
    and bounds; with steps the model then samples so by itself. data: where the run's data are now, if they have moved.
    Writes tuning/variance.json and tuning/variance.png. Raises Refused for tokens, and while another process has it.
    """
    own(run)
    model = tunable(run)
    model = replace(model, recipe=on(model.recipe, data))
    process: Any = model.denoiser.process
    if process.family != "values":
        raise Refused("tune variance is for values; the steps of tokens have no variance")
    if points < 2 or count < 1:
        raise Refused(f"tune variance needs 2 points or more and a count of 1 or more, not {points} and {count}")
    clipping = _clipping(model, settings)
    times = levels(process.schedule, points)
    if steps is not None and not 2 <= steps <= len(times):
        raise Refused(f"--steps takes 2 to {len(times)} steps over {len(times)} times (--points), not {steps}")
    lock = run_lock(run)
    try:
        x_0, conditions = _data(model, count)
        clipping = {"bounds": (float(x_0.min()), float(x_0.max())), **clipping}
        low, high = clipping["bounds"]
        most = ((high - low) / 2) ** 2
        estimates = _estimate(model, x_0, conditions, times, rule, advance)
        found = Estimate(
            tuple(times.tolist()),
            tuple(min(value, most) for value in estimates),
            tuple(process.schedule.log_snr(times).tolist()),
            rule,
            len(x_0),
            clipping,
        )
        if steps is not None:
            grid = optimal_steps(process, times, torch.tensor(found.variances, dtype=torch.float64), steps)
            found = replace(found, steps=tuple(grid.tolist()))
        write_json(run / FOLDER / TABLE, asdict(found))
        draw(run / FOLDER / CURVE, partial(_curve, found))
        if keep:
            _keep(run, model, found)
    finally:
        lock.release()
    return found


def levels(schedule: Schedule, points: int) -> Tensor:
    """Rising times, even in log-SNR up to t = 1; on a table its own, (points,) or fewer."""
    first = 1 / schedule.steps if schedule.steps else 1e-4
    if schedule.steps and points >= schedule.steps:
        return torch.arange(1, schedule.steps + 1, dtype=torch.float64) / schedule.steps
    ends = schedule.log_snr(torch.tensor([first, 1.0], dtype=torch.float64)).clamp(-RANGE, RANGE)
    times = schedule.time(torch.linspace(float(ends[0]), float(ends[1]), points, dtype=torch.float64)).clamp(min=1e-9)
    if not schedule.steps:
        return times
    return schedule.step(times).clamp(min=1).unique().double() / schedule.steps


def _data(model: DenoisingGenerator, count: int) -> tuple[Tensor, dict[str, Any]]:
    """At most so many of the data that training saw, encoded, and their conditions."""
    loaded = of_model(model)
    settings = build.training(model.recipe)
    data = (loaded.split(settings.held_out)[0] if settings.held_out else loaded).some(count)
    conditions = {name: values.to(model.device) for name, values in tensors(model.conditions, data.conditions).items()}
    with torch.no_grad():
        return model.denoiser.state_of(model.codec.encode(np.asarray(data.x)).to(model.device)), conditions


def _estimate(
    model: DenoisingGenerator,
    x_0: Tensor,
    conditions: dict[str, Any],
    times: Tensor,
    rule: Literal["error", "score"],
    advance: Callable[[int, int], None],
) -> list[float]:
    random = Random(build.training(model.recipe).seed).fold(STREAM)
    found: list[float] = []
    advance(0, len(times))
    for value in estimated(model.denoiser, x_0, times, random, rule, batches(model.shape), **conditions):
        found.append(value)
        advance(len(found), len(times))
    return found


def _clipping(model: DenoisingGenerator, settings: Sequence[str]) -> dict[str, Any]:
    """`field=value` texts as fields of OptimalVariance; raises Refused for others."""
    named = {text.partition("=")[0].strip() for text in settings}
    for name in sorted(named - set(CLIPPING)):
        raise unknown("the clipping of a variance", name, CLIPPING)
    wrong = next((text for text in settings if "=" not in text), None)
    if wrong is not None:
        raise Refused(f"cannot read the setting {wrong!r}; write field=value, for example bounds=[-1,1]")
    table = model.recipe.override(["sampler.name=none", *(f"sampler.{text}" for text in settings)])["sampler"]
    read = {name: value for name, value in table.items() if name in CLIPPING}
    fields = registry.check(OptimalVariance, read, owner="the clipping of a variance")
    OptimalVariance(model.denoiser, (1.0,), (0.0,), **fields)
    return fields


def _curve(found: Estimate, axes: "Axes") -> None:
    """The variance against log-SNR, below that of x_t/alpha, which any guess could have."""
    level = np.array(found.log_snr)
    axes.plot(level, found.variances, "-", color="#2f81f7", label="E Var(x_0 given x_t)")
    top = max(found.variances) or 1.0
    shown = np.exp(-level) <= 3 * top
    axes.plot(level[shown], np.exp(-level[shown]), "--", color="#8b949e", lw=1, label="sigma^2 / alpha^2")
    axes.set(xlabel="log-SNR", ylabel="variance of the guess, encoded units", yscale="log")


def _keep(run: Path, model: DenoisingGenerator, found: Estimate) -> None:
    """Store it with the model; with steps, as the way the model samples."""
    variance = {"times": list(found.times), "variances": list(found.variances), **found.clipping}
    recipe = model.recipe
    if found.steps:
        sampler = {key: value for key, value in recipe["sampler"].items() if key == "guidance"}
        grid = {"name": "listed", "times": list(found.steps)}
        sampler |= {"name": "ancestral", "variance": "exact", "steps": len(found.steps) - 1, "grid": grid}
        recipe = recipe.with_tables(sampler=sampler)
    keep_(run, replace(model, facts={**model.facts, "variance": variance}, recipe=recipe))
