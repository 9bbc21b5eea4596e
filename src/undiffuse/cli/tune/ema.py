"""`undiffuse tune RUN ema`: the length of the averaged weights, found after training."""

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from undiffuse.cli.options import Moved
from undiffuse.cli.terminal import console, progress
from undiffuse.core.errors import Refused

if TYPE_CHECKING:
    from undiffuse.tuning import Trial


class By(StrEnum):
    """What the best is chosen by."""

    VALIDATION = "validation"
    FRECHET = "frechet"


def ema(
    context: Context,
    lengths: Annotated[
        str | None,
        Option(metavar="0.02,0.05,...", help="Shares of the training to average over. [default: 0.02 to 0.25]"),
    ] = None,
    metric: Annotated[
        By, Option(help="validation: the loss on held-out data; frechet: the distance of samples to it.")
    ] = By.VALIDATION,
    n: Annotated[int, Option("-n", "--count", help="How many samples, for frechet.")] = 500,
    data: Moved = None,
    keep: Annotated[bool, Option("--keep", help="Make the best the run's model.")] = False,
) -> None:
    """Find the best length of the averaged weights on held-out data.

    \b
    undiffuse tune runs/digits ema
    undiffuse tune runs/digits ema --lengths 0.03,0.06,0.12 --metric frechet --keep
    """
    chosen = _numbers(lengths)
    from undiffuse import tuning

    run: Path = context.obj
    if n < 10:
        raise Refused(f"{n} samples are too few for a distance: at least 10 are needed")
    with progress("tuning", "average") as advance:
        found = tuning.ema(
            run,
            tuning.LENGTHS if chosen is None else chosen,
            metric=metric.value,
            count=n,
            data=data,
            keep=keep,
            advance=advance,
        )
    best = tuning.best(found)
    _print(found, best)
    own = next((f"; the run's own weights: {trial.score:.5g}" for trial in found if trial.name == "ordinary"), "")
    judged = "distance" if best.distance is not None else "validation loss"
    print(f"the best length is {best.length:g} of the training, {judged} {best.score:.5g}{own}")
    if not keep:
        how = f" --metric {metric.value} -n {n}" if metric is By.FRECHET else ""
        print(f"keep it: undiffuse tune {quote(str(run))} ema --lengths {best.length:g}{how} --keep")
    print(f"written to {run / tuning.FOLDER}: {tuning.TABLE}, {tuning.CURVE}")
    if keep:
        print(f"{run} now holds the best; the model from before is {tuning.BEFORE}")


def _numbers(text: str | None) -> list[float] | None:
    """`0.02,0.05` as numbers; raises Refused for anything else."""
    try:
        return None if text is None else [float(word) for word in text.split(",")]
    except ValueError:
        raise Refused(f"--lengths takes numbers between 0 and 0.288 with commas between, not {text!r}") from None


def _print(found: "list[Trial]", best: "Trial") -> None:
    from undiffuse.evaluation.number_table import number_table

    measured = any(trial.distance is not None for trial in found)
    heads = ("weights", "length", "gamma", "residual", "validation loss", *(["distance"] if measured else []))
    table = number_table(heads)
    for trial in found:
        name = trial.name if trial.length is not None else f"{trial.name}, step {trial.step}"
        cells = [
            *(f"{v:.4g}" if v is not None else "-" for v in (trial.length, trial.gamma)),
            "-" if trial.residual is None else f"{100 * trial.residual:.2f} %",
            f"{trial.validation_loss:.5g}",
            *([f"{trial.distance:.4g}"] if trial.distance is not None else []),
        ]
        table.add_row(name, *cells, style="green" if trial == best else None)
    console().print(table)
    console().print(
        "[dim]residual: how much of that average's profile the kept snapshots cannot make: more of them, less[/]"
    )
