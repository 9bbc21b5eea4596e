"""`undiffuse tune RUN variance`: the variance of the steps from noise to data, estimated on the run's own data."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Context, Option

from undiffuse.cli.options import Moved
from undiffuse.cli.terminal import progress


class Rule(StrEnum):
    """How a variance is estimated."""

    ERROR = "error"
    SCORE = "score"


def variance(
    context: Context,
    n: Annotated[int, Option("-n", "--count", help="How many data at each noise level.")] = 500,
    rule: Annotated[Rule, Option(help="By the guess's squared error, or the size of its noise.")] = Rule.ERROR,
    points: Annotated[int, Option(help="At how many noise levels.")] = 100,
    steps: Annotated[int | None, Option(help="Find the best so many steps as well.")] = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="FIELD=VALUE ...", help="Clipping: bounds=[-1,1] clip_mean=true late=0.01"),
    ] = None,
    data: Moved = None,
    keep: Annotated[bool, Option("--keep", help="Store it with the run's model.")] = False,
) -> None:
    """Estimate the best variance of stochastic steps. For the variance "exact" of samplers and bounds.

    \b
    undiffuse tune runs/digits variance --keep
    undiffuse tune runs/digits variance --set bounds=[-1,1] --steps 10 --keep
    undiffuse sample runs/digits --sampler ancestral --set variance=exact --steps 25
    """
    from undiffuse import tuning
    from undiffuse.tuning.variances import CURVE, TABLE

    run: Path = context.obj
    with progress("estimating", "level") as advance:
        found = tuning.variance(
            run,
            rule=rule.value,
            points=points,
            count=n,
            settings=settings or [],
            steps=steps,
            data=data,
            keep=keep,
            advance=advance,
        )
    print(
        f"variance of the guess: {found.variances[0]:.3g} at t = {found.times[0]:g} to {found.variances[-1]:.3g} at 1"
    )
    if found.steps:
        print(f"the best {steps} steps: {' '.join(f'{t:.4g}' for t in found.steps)}")
    print(f"written to {run / tuning.FOLDER}: {TABLE}, {CURVE}")
    if keep:
        way = f"samples in these {steps} steps" if found.steps else "has it, for --set variance=exact"
        print(f"{run} now {way}; the model from before is {tuning.BEFORE}")
