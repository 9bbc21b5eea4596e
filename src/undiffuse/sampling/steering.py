"""Controls of a request: runs of kind controlnet that steer a model, each with a weight and an interval of noise."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from undiffuse.core.arguments import number, shown
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.guidance.extrapolation import check_interval
from undiffuse.networks.control import ControlBranch, ControlledNetwork, Frozen, Strength
from undiffuse.sampling.denoising_run import DenoisingRun
from undiffuse.sampling.run import Run
from undiffuse.sampling.stored_plan import digest

NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|inf"
TEXT = re.compile(rf"(?P<run>.+?)(?::(?P<weight>-?(?:{NUMBER}))(?::(?P<low>{NUMBER}):(?P<high>{NUMBER}))?)?")
KEPT = ("data", "held_out", "seed", "step")  # facts of a model that are those of the steered one


@dataclass(frozen=True, eq=False)
class Control:
    """run: of kind controlnet, or its folder. weight: of what it adds. interval: the noise levels sigma/alpha at which
    it does, above the first and up to the second; None: all.
    """

    run: Any
    weight: float = 1.0
    interval: tuple[float, float] | None = None

    @classmethod
    def of(cls, asked: Any) -> Self:
        """The control that is asked for: itself, a run, a folder, a text RUN:WEIGHT:LOW:HIGH of which the numbers may
        be left out, or (run, weight, interval). Raises Refused for anything else.
        """
        if isinstance(asked, cls):
            return asked
        run: Any = asked
        weight: Any = 1.0
        interval: Any = None
        if isinstance(asked, str):
            found = TEXT.fullmatch(asked)
            if found is None or ":" in found["run"][2:]:  # a drive's letter may stand before a colon
                raise Refused(
                    f"controlnet = {asked!r}: write RUN, RUN:WEIGHT or RUN:WEIGHT:LOW:HIGH, as runs/edges:0.8:0.5:80"
                )
            run, weight = found["run"], float(found["weight"] or 1.0)
            interval = (float(found["low"]), float(found["high"])) if found["low"] else None
        elif isinstance(asked, tuple | list):
            run, weight, interval = (*asked, *(None, 1.0, None)[len(asked) :])[:3]
        if not isinstance(run, str | Path | Run):
            raise Refused(
                f"controlnet is a run of kind controlnet, its folder, or (run, weight, interval), not {shown(asked)}"
            )
        check_interval(interval)
        return cls(run, number(weight, "the weight of a controlnet"), interval)

    def __str__(self) -> str:
        """As it is written on a command line."""
        run = self.run if isinstance(self.run, str | Path) else self.run.recipe.home or self.run.recipe.name
        if self.interval is None:
            return str(run) if self.weight == 1 else f"{run}:{self.weight:g}"
        return f"{run}:{self.weight:g}:{self.interval[0]:g}:{self.interval[1]:g}"


def controlled(
    base: Predictor, branches: Sequence[ControlBranch], strengths: Sequence[Strength] | None = None
) -> Predictor:
    """A denoiser that is the frozen one, steered by these branches."""
    network = ControlledNetwork(Frozen(base), branches, strengths)
    jumps: Any = base.jumps
    return Predictor(network, base.process, base.head, jumps, base.guidance_input, base.jump_times)


def composed(model: DenoisingRun, controls: Sequence[Control], steers: Predictor | None = None) -> Any:
    """The model with these controls added to those that it has, all of the same base; their conditions are its own.

    steers: what they steer in place of that base, such as the same with a LoRA.
    Raises Refused for what is no control, for a control of another base, and for a condition of two of them.
    """
    network: Any = model.denoiser.network
    base: Predictor = network.base.predictor if model.steers else model.denoiser
    branches, strengths = ([*network.branches], [*network.strengths]) if model.steers else ([], [])
    conditions = dict(model.conditions)
    for control in controls:
        run = control.run
        if not run.steers:
            raise Refused(f"controlnet = {str(control)!r} is {run.what}, and a run of kind controlnet is needed")
        frozen = run.denoiser.network.base.predictor
        _refuse_another(str(control), (frozen, run), (base, model))
        for branch in run.denoiser.network.branches:
            branches.append(branch)
            strengths.append(_strength(control, base, model.shape))
            conditions |= {name: run.conditions[name] for name in branch.conditions}
    made, first = controlled(steers or base, branches, strengths), model if model.steers else controls[0].run
    tables = {name: kind.written() for name, kind in conditions.items()}
    recipe = first.recipe.with_tables(conditions=tables, data=model.recipe["data"], sampler=model.recipe["sampler"])
    facts = {name: model.facts[name] for name in KEPT if name in model.facts}
    return replace(
        first,
        module=made.eval(),
        recipe=replace(recipe, name=model.recipe.name, home=model.recipe.home),
        conditions=conditions,
        facts=facts,
    )


def _strength(control: Control, base: Predictor, shape: tuple[int, ...]) -> Strength:
    """The weight where the network's own time stands for the control's noise levels."""
    if control.interval is None:
        return Strength(control.weight)
    levels = torch.tensor(control.interval, dtype=torch.float64)
    times = base.process.schedule.time(-2 * levels.log())
    nothing = torch.zeros(2, *base.state_shape(shape), dtype=torch.float32)
    low, high = sorted(base.head.open(base.process, nothing, times)[1].tolist())
    if low == high and times[0] < times[1]:
        raise Refused(f"controlnet = {str(control)!r}: the network does not tell these noise levels from one another")
    return Strength(control.weight, low, high if math.isfinite(control.interval[1]) else math.inf)


def _refuse_another(what: str, theirs: tuple[Predictor, DenoisingRun], ours: tuple[Predictor, DenoisingRun]) -> None:
    """Raises Refused, showing both, unless a control's own base is the one that it shall steer."""
    (frozen, run), (base, model) = theirs, ours
    begin = f"controlnet = {what!r} was trained to steer another base"
    tensors, own = frozen.network.state_dict(), base.network.state_dict()
    for name in sorted(tensors.keys() | own.keys()):
        have, want = (tuple(each[name].shape) if name in each else "nothing" for each in (tensors, own))
        if have != want:
            raise Refused(f"{begin}: {name} is {have} there, and {want} here")
    for name, its, mine in (
        ("samples of shape", run.shape, model.shape),
        ("noise", frozen.process, base.process),
        ("codec", run.codec, model.codec),
    ):
        if its != mine:
            raise Refused(f"{begin}: its {name} is {its}, and here it is {mine}")
    if not all(_same(tensors[name], own[name]) for name in own):
        both = f"the digest of its weights is {digest(frozen.network)[:12]}, and here it is {digest(base.network)[:12]}"
        raise Refused(
            f"{begin} of the same shapes: {both}; "
            "go on training it for this one: undiffuse train RECIPE --set base.run=BASE init.run=CONTROLNET"
        )


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, in the coarser of their dtypes."""
    dtype = min(one.dtype, other.dtype, key=lambda each: each.itemsize)
    return torch.equal(one.to(dtype), other.to(one.device, dtype))
