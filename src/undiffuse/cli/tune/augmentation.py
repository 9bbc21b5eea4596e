"""`undiffuse tune RUN augmentation`: the noise on the condition of a chain's stages."""

from pathlib import Path
from shlex import quote
from typing import Annotated

from typer import Context, Option

from undiffuse.cli.options import Moved
from undiffuse.cli.terminal import progress
from undiffuse.core.errors import Refused


def augmentation(
    context: Context,
    levels: Annotated[
        str | None, Option(metavar="0,0.1,...", help="Levels to try. [default: 6 from 0 to the greatest trained]")
    ] = None,
    n: Annotated[int, Option("-n", "--count", help="How many samples at each level.")] = 500,
    data: Moved = None,
    features: Annotated[
        str | None,
        Option(metavar="NAME", help="What distances are measured in, see evaluate. [default: numbers]"),
    ] = None,
    keep: Annotated[bool, Option("--keep", help="Store the best with the chain.")] = False,
) -> None:
    """Find the best noise on the condition of a chain's stages. By the distance of its samples to held-out data.

    \b
    undiffuse tune runs/cascade augmentation -n 500 --keep
    undiffuse tune runs/cascade augmentation -n 500 --features efficientnet-lite0
    """
    from undiffuse import tuning as tuned
    from undiffuse.sampling.words import numbers

    run: Path = context.obj
    says = f"--levels takes numbers from 0 to 1 with commas between, not {levels!r}"
    asked = None if levels is None else numbers(levels, says)
    if n < 10:
        raise Refused(f"{n} samples are too few for a distance: at least 10 are needed")
    with progress("tuning", "level") as advance:
        found, best = tuned.augmentation(run, asked, count=n, data=data, features=features, store=keep, advance=advance)
    for each in found:
        mark = "  best" if best[each.stage] == each.level else ""
        print(f"{each.stage}, level {each.level:.3g}: distance {each.distance:.4g}{mark}")
    print(f"written to {run / tuned.FOLDER}: {tuned.LEVEL_TABLE}, {tuned.LEVEL_CURVE}")
    if not keep:
        said = ",".join(f"{level:g}" for level in dict.fromkeys(best.values()))
        by = "" if features is None else f" --features {quote(features)}"
        print(f"keep it: undiffuse tune {quote(str(run))} augmentation --levels {said} -n {n}{by} --keep")
