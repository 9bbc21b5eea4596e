"""`undiffuse distill`: train a student that takes few steps where a run takes many."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from undiffuse.core.errors import Refused


def distill(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of the teacher.")],
    method: Annotated[
        str, Option(metavar="NAME", help="progressive, consistency, mean_flow, shortcut, distribution_matching.")
    ],
    to: Annotated[int, Option(metavar="N", help="How many steps the student takes.")],
    out: Annotated[Path, Option("-o", "--out", help="The student's run folder.")],
    steps: Annotated[int | None, Option(help="Steps of training. [default: the teacher's]")] = None,
    guidance: Annotated[
        str | None,
        Option(
            metavar="WEIGHT|LOW,HIGH",
            help="A weight to build in, or a range of which the student takes one. [default: the teacher's recipe's]",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="TABLE.FIELD=VALUE ...", help="Change the student's recipe: --set train.lr=1e-3"),
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the student's newest checkpoint.")] = False,
) -> None:
    """Train a student of a run, which samples in few steps. `undiffuse sample` of it needs no flags.

    The student's folder is a run like any other: Ctrl-C saves, and `undiffuse train FOLDER --resume` goes on.

    \b
    undiffuse distill runs/digits --method progressive --to 4 -o runs/digits-4
    undiffuse distill runs/digits --method progressive --to 4 --guidance 1,4 -o runs/digits-guided
    undiffuse sample runs/digits-guided --label 3 --guidance 2
    """
    from undiffuse.cli.train import finish
    from undiffuse.training.distill import distill

    weights = _weights(guidance)
    finish(distill(run, method, to, out=out, steps=steps, guidance=weights, overrides=settings or (), resume=resume))


def _weights(text: str | None) -> float | tuple[float, float] | None:
    """`3` or `1,4` as numbers; raises Refused for anything else."""
    if text is None:
        return None
    try:
        numbers = [float(word) for word in text.split(",")]
        low, high = numbers if len(numbers) == 2 else (numbers[0], None)
    except ValueError:
        numbers, low, high = [], 0.0, None
    if len(numbers) not in (1, 2):
        raise Refused(f"--guidance is one weight, as 3, or a range of weights, as 1,4, not {text!r}")
    return low if high is None else (low, high)
