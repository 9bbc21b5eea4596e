"""`undiffuse tune RUN grid`: the times and coefficients of few steps that stay closest to the run's fine trajectory."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from typer import Context, Option

from undiffuse.cli.options import Moved
from undiffuse.cli.terminal import console, count, progress, tell
from undiffuse.core.errors import Refused
from undiffuse.progress import duration
from undiffuse.sampling import words
from undiffuse.sampling.request import SampleRequest

if TYPE_CHECKING:
    from undiffuse.tuning import TunedGrid


def grid(
    context: Context,
    steps: Annotated[str, Option(metavar="4,8,16", help="For these numbers of steps.")] = "8",
    starts: Annotated[
        int | None, Option(metavar="N", help="Trajectories to tune on. [default: 96, more where data are small]")
    ] = None,
    guidance: Annotated[
        str | None,
        Option(metavar="WEIGHT|NAME=WEIGHT,...", help="The guidance to tune for. [default: the recipe's]"),
    ] = None,
    data: Moved = None,
) -> None:
    """Find the best plan of few steps for a run. It ends nearest to the run's own fine trajectories, and is stored with
    the model.

    Of a consistency function: the noise levels between its steps whose samples are nearest to held-out data.
    Samples of as many steps are drawn by it then, unless --sampler or --grid say otherwise. Ctrl-C keeps the best that
    was found so far.

    \b
    undiffuse tune runs/digits grid --steps 8
    undiffuse tune runs/digits grid --steps 4,8,16 --starts 512
    undiffuse sample runs/digits --steps 8
    """
    from undiffuse import tuning

    run: Path = context.obj
    wanted: dict[str, Any] = {} if guidance is None else {"guidance": words.weights(guidance)}
    numbers = _numbers(steps)

    def begin(calls: int, seconds: float) -> None:
        tell(f"at most about {count(calls)} calls of the network, each for one sample: {duration(seconds)} here")

    with progress("tuning", "call") as advance:
        found = tuning.grid(
            run,
            numbers,
            starts=starts,
            request=SampleRequest(**wanted),
            data=data,
            begin=begin,
            advance=advance,
        )
    _print(found)
    print(f"written to {run / tuning.FOLDER}: {tuning.GRID_TABLE}, {tuning.GRID_CURVE}")
    if found.stopped:
        left = sorted(set(numbers) - {each.steps for each in found.plans})
        rest = f"; not begun: {_listed(left)} steps" if left else ""
        print(f"stopped: the plan of {found.plans[-1].steps} steps is the best so far{rest}")
    stays = [each.steps for each in found.plans if not each.tuned]
    if stays:
        print(f"the default stays for {_listed(stays)} steps: tuning found nothing that is nearer on other starts")
    if kept := [each.steps for each in found.plans if each.tuned]:
        how = "" if guidance is None else f" --guidance {guidance}"
        print(f"sample by it: undiffuse sample {quote(str(run))} --steps {kept[0]}{how}")


def _numbers(text: str) -> list[int]:
    """`4,8,16` as numbers; raises Refused for anything else."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise Refused(f"--steps takes numbers of steps with commas between, such as 4,8,16, not {text!r}") from None


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _print(found: "TunedGrid") -> None:
    from undiffuse.evaluation.number_table import number_table

    table = number_table(("steps", "calls", "distance", "default calls", "default distance", "ratio"), left=0)
    for each in found.plans:
        ratio = f"{each.error / each.usual_error:.3g}" if each.usual_error else "-"
        cells = (f"{each.calls:g}", f"{each.error:.4g}", f"{each.usual_calls:g}", f"{each.usual_error:.4g}", ratio)
        table.add_row(str(each.steps), *cells, style="green" if each.tuned else None)
    console().print(table)
    console().print(f"[dim]{found.measured}; nothing was tuned on them[/]")
