"""`undiffuse tune RECIPE lr`: the learning rate, by a range test."""

from pathlib import Path
from typing import Annotated

from typer import Context, Option

from undiffuse.cli.terminal import progress


def lr(
    context: Context,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="TABLE.FIELD=VALUE ...", help="Change the recipe, as for train.")
    ] = None,
    data: Annotated[str | None, Option(metavar="DATA", help="The data, as for train.")] = None,
    first: Annotated[float, Option(help="The first learning rate.")] = 1e-5,
    last: Annotated[float, Option(help="The last learning rate.")] = 1.0,
    steps: Annotated[int, Option(help="How many steps the rate takes from one to the other.")] = 200,
    out: Annotated[
        Path | None, Option("-o", "--out", help="Where table and curve go. [default: runs/RECIPE-lr]")
    ] = None,
) -> None:
    """Find the learning rate of a recipe, before it is trained. The rate rises until training breaks.

    \b
    undiffuse tune digits lr
    undiffuse tune mnist lr --data mnist.npz --set train.batch=128
    """
    from undiffuse import tuning
    from undiffuse.cli.train import chosen_recipe

    chosen, overrides = chosen_recipe(str(context.obj), data, list(settings or ()))
    folder = out or Path("runs") / f"{Path(str(context.obj)).stem}-lr"
    with progress("trying", "step") as advance:
        found = tuning.learning_rate(
            chosen, overrides=overrides, first=first, last=last, steps=steps, out=folder, advance=advance
        )
    print(f"written to {folder}: {tuning.RATE_TABLE}, {tuning.RATE_CURVE}")
    if found.edge == found.rates[0]:
        print(f"the loss never fell below that at {found.edge:.2g}, the first rate: try more --steps")
    elif not found.found:
        print(f"the loss still fell at {found.edge:.2g}, the last rate that was tried: try a larger --last")
    else:
        print(f"the loss is least at a learning rate of {found.edge:.2g}, and rises behind it")
        print(f"take half of it: --set train.lr={found.suggested:g}")
