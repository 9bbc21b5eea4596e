"""Plans of few steps for a run: tuned on its own guided trajectories, and stored with it by their number of steps."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from undiffuse.conditions.from_data import examples
from undiffuse.conditions.label import LABEL
from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.data.derived_conditions import of_model
from undiffuse.data.paths import on
from undiffuse.models.load import denoising
from undiffuse.recipes import build
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.option import as_json
from undiffuse.sampling.plan import at_once, plan
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session, labels_in_turn
from undiffuse.sampling.stored_plan import PLANS, StoredPlan, digest, guided_by
from undiffuse.storage.files import own, write_json
from undiffuse.training.run_lock import run_lock
from undiffuse.tuning.fine import STEPS as FINE
from undiffuse.tuning.place import FOLDER, draw
from undiffuse.tuning.times import LEAST, Plan, Tuner, tuner

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID_TABLE, GRID_CURVE = "grid.json", "grid.png"
STREAM = 7  # its stream of random numbers
STARTS, MOST, NUMBERS = 256, 4096, 2**14  # starts: more where they are small, so many that they have so many numbers
SHARE = 100  # of the progress for each plan


@dataclass(frozen=True)
class TunedSteps:
    """What was found for a number of steps: how far the plan and the default end from the fine trajectory, in the
    data's encoded units, and their network calls a sample. usual: of the default one.
    """

    steps: int
    calls: float
    error: float
    usual_calls: float
    usual_error: float
    tuned: bool
    times: tuple[float, ...]


def grid(
    run: Path,
    steps: Sequence[int] = (8,),
    *,
    starts: int | None = None,
    request: SampleRequest | None = None,
    data: str | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[TunedSteps]:
    """Find, for each number of steps, the plan that ends nearest to the run's own fine trajectories, and store it.

    starts: how many trajectories; half are tuned on, a quarter chooses, a quarter reports (default: 256, more of small
    data). request: guidance other than the recipe's. Classes, and conditions of held-out data, come in turn. data:
    where those are now, if they have moved.
    A plan that does not improve on the default is not stored, and an older one of as many steps is taken away.
    Each is stored as soon as it is found; writes tuning/grid.json and tuning/grid.png. Raises Refused as `tuner`, and
    while another process has the run.
    """
    own(run)
    wanted = sorted({arguments.whole(each, "steps") for each in steps})
    if not wanted or wanted[0] < 1:
        raise Refused(f"sampling needs at least 1 step, not {wanted[0] if wanted else 'none'}")
    model = denoising(run, precision="float32")
    if model.denoiser.process.family != "values":
        raise Refused("tune grid is for values, whose steps follow an ODE; the steps of tokens draw")
    count = arguments.whole(starts, "starts") if starts else _starts(model)
    lock = run_lock(run)
    total = FINE + SHARE * len(wanted)
    try:
        session = _session(replace(model, recipe=on(model.recipe, data)), request or SampleRequest(), count)
        random = Random(build.training(model.recipe).seed).fold(STREAM)
        shape = model.denoiser.state_shape((count, *model.shape))
        with torch.no_grad():
            start = to(model.denoiser.process.prior(shape).sample(random), model.device)
            tuning = tuner(
                session.denoiser,
                start,
                session.cond,
                batch=at_once(model),
                advance=lambda done, of: advance(FINE * done // of, total),
            )
            found: list[TunedSteps] = []
            for i, each in enumerate(wanted):
                usual = _usual(model, tuning, each)

                def tell(share: float, i: int = i) -> None:
                    advance(FINE + int(SHARE * (i + share)), total)

                plan = tuning.plan(each, default=usual, advance=tell)
                found.append(_measured(tuning, plan, *usual))
                model = _stored(run, model, plan, session)
                _write(run, found, session, count)
    finally:
        lock.release()
    return found


def _starts(model: DenoisingGenerator) -> int:
    numbers = torch.Size(model.denoiser.state_shape((1, *model.shape))).numel()
    return max(STARTS, min(MOST, NUMBERS // numbers))


def _session(model: DenoisingGenerator, request: SampleRequest, count: int) -> Session:
    """So many samples, guided as asked or as the recipe says, opened: their denoiser and their conditions."""
    if count < LEAST:
        raise Refused(f"--starts takes at least {LEAST}, not {count}")
    given: dict[str, Any] = {}
    if set(model.conditions) - {LABEL}:
        held_out = build.training(model.recipe).held_out
        loaded = of_model(model)
        given = examples(model.conditions, (loaded.split(held_out)[1] if held_out else loaded).conditions, count)
    asked = replace(request, n=count, conditions={**given, **request.conditions})
    return model.open(labels_in_turn(model, asked))


def _usual(model: DenoisingGenerator, tuning: Tuner, steps: int) -> tuple[Sampler, Tensor]:
    """The recipe's own plan of so many steps where it follows the ODE, else the default of its process."""
    try:
        sampler, times = plan(model.recipe, model.denoiser, SampleRequest(steps=steps))
    except Refused:  # a recipe whose own grid lists other steps
        return tuning.default(steps)
    return (sampler, times) if sampler.convergence_order else tuning.default(steps)


def _measured(tuning: Tuner, plan: Plan, usual: Sampler, times: Tensor) -> TunedSteps:
    return TunedSteps(
        plan.steps,
        tuning.calls(plan.sampler, plan.times),
        plan.error,
        tuning.calls(usual, times),
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


def _write(run: Path, found: Sequence[TunedSteps], session: Session, starts: int) -> None:
    about = {"starts": starts, "guided": guided_by(session.request), "plans": [asdict(each) for each in found]}
    write_json(run / FOLDER / GRID_TABLE, about)
    draw(run / FOLDER / GRID_CURVE, _curve(found))


def _curve(found: Sequence[TunedSteps]) -> "Figure":
    """The error against the network calls of a sample."""
    from matplotlib.figure import Figure  # 0.1 s to import, needed for plots only

    figure = Figure(figsize=(5.2, 3.4), dpi=110, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for name, colour, dots in (
        ("default plan", "#8b949e", [(each.usual_calls, each.usual_error) for each in found]),
        ("tuned plan", "#2f81f7", [(each.calls, each.error) for each in found]),
    ):
        axes.plot(*zip(*dots, strict=True), "o-", color=colour, label=name)
    axes.set(xlabel="network calls a sample", ylabel="distance to the fine trajectory", xscale="log", yscale="log")
    marks = sorted({round(calls) for each in found for calls in (each.calls, each.usual_calls)})
    axes.set_xticks(marks, [str(mark) for mark in marks])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.legend(frameon=False)
    axes.grid(color="#e2e8f0", lw=0.6)
    return figure
