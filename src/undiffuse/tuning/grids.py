"""Plans of few steps for a run: tuned on its own guided trajectories, and stored with it by their number of steps."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from undiffuse.core import arguments, devices
from undiffuse.core.errors import Refused
from undiffuse.core.sampler import Sampler
from undiffuse.data.paths import on
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.option import as_json
from undiffuse.sampling.plan import plan
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session
from undiffuse.sampling.stored_plan import PLANS, StoredPlan, digest, guided_by
from undiffuse.storage.files import own, write_json
from undiffuse.training.run_lock import run_lock
from undiffuse.training.stop import Stop
from undiffuse.tuning.jump_times import JumpTuner
from undiffuse.tuning.opened import Opened, opened
from undiffuse.tuning.place import FOLDER, draw, tunable
from undiffuse.tuning.times import Plan, Tuner

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID_TABLE, GRID_CURVE = "grid.json", "grid.png"
DRAWN = {"tokens": "its data are tokens, whose steps draw", "mixed": "some of its data are tokens, whose steps draw"}


@dataclass(frozen=True)
class TunedSteps:
    """What was found for a number of steps: the errors of the plan and of the default, and their network calls a
    sample. usual: of the default one.
    """

    steps: int
    calls: float
    error: float
    usual_calls: float
    usual_error: float
    tuned: bool
    times: tuple[float, ...]


@dataclass(frozen=True)
class TunedGrid:
    """What was found for each number of steps. measured: what the errors are. stopped: whether Ctrl-C or SIGTERM ended
    the search; the last plan is the best so far then, and larger numbers of steps may be missing.
    """

    plans: tuple[TunedSteps, ...]
    measured: str
    stopped: bool


@devices.on_cpu()
def grid(
    run: Path,
    steps: Sequence[int] = (8,),
    *,
    starts: int | None = None,
    request: SampleRequest | None = None,
    data: str | None = None,
    begin: Callable[[int, float], None] = lambda calls, seconds: None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> TunedGrid:
    """Find, for each number of steps, the plan that ends nearest to the run's own fine trajectories, and store it.

    Of a consistency function, which has none: the times whose samples are nearest to held-out data, see `JumpTuner`.
    starts: how many trajectories; half are tuned on, a quarter chooses, a quarter reports (default: 96, more of small
    data). Of a consistency function: how many held-out items (default: all, up to 2,000). request: guidance other than
    the recipe's. Classes, and conditions of held-out data, come in turn. data: where those are now, if they have moved.
    begin: called with about how many network calls there are at most, and the seconds that they take here. advance:
    called with those done and all.
    A plan that does not improve on the default is not stored, and an older one of as many steps is taken away.
    Each is stored as soon as it is found; writes tuning/grid.json and tuning/grid.png. Ctrl-C or SIGTERM after the fine
    trajectory stores the best that was found so far. Raises Refused as `tuner`, and while another process has the run.
    """
    own(run)
    wanted = sorted({arguments.whole(each, "steps") for each in steps})
    if not wanted or wanted[0] < 1:
        raise Refused(f"sampling needs at least 1 step, not {wanted[0] if wanted else 'none'}")
    model = tunable(run)
    if drawn := DRAWN.get(model.denoiser.process.family):
        raise Refused(f"tune grid is for values, whose steps follow an ODE; {run} is another run: {drawn}")
    count = None if starts is None else arguments.whole(starts, "starts")
    lock, stop = run_lock(run), Stop()
    found: list[TunedSteps] = []
    try:
        with torch.no_grad():
            job = opened(replace(model, recipe=on(model.recipe, data)), request or SampleRequest(), wanted, count)
            begin(job.calls, job.seconds())
            before = job.asked.calls
            job.asked.told = lambda calls: advance(min(calls - before, job.calls), job.calls)
            tuning = job.tuner(lambda: stop.signal is not None)
            with stop:
                for each in wanted:
                    usual = _usual(model, tuning, each)
                    plan = tuning.plan(each, default=usual)
                    found.append(_measured(job, tuning, plan, *usual))
                    model = _stored(run, model, plan, job.session)
                    _write(run, found, tuning.measured, job)
                    if stop.signal is not None:
                        break
            advance(job.calls, job.calls)
    finally:
        lock.release()
    return TunedGrid(tuple(found), tuning.measured, stop.signal is not None)


def _usual(model: DenoisingGenerator, tuning: Tuner | JumpTuner, steps: int) -> tuple[Sampler, Tensor]:
    """The recipe's own plan of so many steps where it can be held against, else the default of its process."""
    try:
        sampler, times = plan(model.recipe, model.denoiser, SampleRequest(steps=steps))
    except Refused:  # a recipe whose own grid lists other steps
        return tuning.default(steps)
    return (sampler, times) if tuning.can_take(sampler) else tuning.default(steps)


def _measured(job: Opened, tuning: Tuner | JumpTuner, plan: Plan, usual: Sampler, times: Tensor) -> TunedSteps:
    def calls(sampler: Sampler, times: Tensor) -> float:
        with job.session.measured() as cost:
            tuning.one(sampler, times)
        return cost[0] * job.session.n

    return TunedSteps(
        plan.steps,
        calls(plan.sampler, plan.times),
        plan.error,
        calls(usual, times),
        plan.default_error,
        plan.tuned,
        tuple(plan.times.tolist()),
    )


def _stored(run: Path, model: DenoisingGenerator, plan: Plan, session: Session) -> DenoisingGenerator:
    """The run with this plan in the place of an older one of as many steps; nothing is written where none changes."""
    others = [each for each in model.plans.values() if each.steps != plan.steps]
    plans = [as_json(asdict(each)) for each in others]
    if plan.tuned:
        found = StoredPlan(
            as_json(plan.sampler), tuple(plan.times.tolist()), guided_by(session.request), digest(model.module)
        )
        plans.append(as_json(asdict(found)))
    if plans == model.facts.get(PLANS, []):
        return model
    facts = {name: fact for name, fact in model.facts.items() if name != PLANS}
    changed = replace(model, facts={**facts, **({PLANS: plans} if plans else {})})
    changed.save(run)
    return changed


def _write(run: Path, found: Sequence[TunedSteps], measured: str, job: Opened) -> None:
    guided, plans = guided_by(job.session.request), [asdict(each) for each in found]
    about = {"measured": measured, "starts": len(job.start), "guided": guided, "plans": plans}
    write_json(run / FOLDER / GRID_TABLE, about)
    draw(run / FOLDER / GRID_CURVE, partial(_curve, found, measured))


def _curve(found: Sequence[TunedSteps], measured: str, axes: "Axes") -> None:
    """The error against the network calls of a sample."""
    for name, colour, dots in (
        ("default plan", "#8b949e", [(each.usual_calls, each.usual_error) for each in found]),
        ("tuned plan", "#2f81f7", [(each.calls, each.error) for each in found]),
    ):
        axes.plot(*zip(*dots, strict=True), "o-", color=colour, label=name)
    axes.set(xlabel="network calls a sample", ylabel=measured, xscale="log", yscale="log")
    marks = sorted({round(calls) for each in found for calls in (each.calls, each.usual_calls)})
    axes.set_xticks(marks, [str(mark) for mark in marks])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
