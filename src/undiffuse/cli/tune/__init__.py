"""`undiffuse tune RUN ...`: improve a finished run without training it again; what can be tuned is one file each."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Typer

from undiffuse.cli.commands import Command
from undiffuse.cli.tune import ema, grid, variance
from undiffuse.core.errors import Refused

app = Typer(invoke_without_command=True, rich_markup_mode=None, add_completion=False)
for command in (ema.ema, variance.variance, grid.grid):
    app.command(name=command.__name__, cls=Command)(command)


@app.callback()
def tune(
    context: Context,
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model.")],
) -> None:
    """Improve a finished run without training. Finds the length of its averaged weights, the variance of its steps, or
    plans of few steps.

    \b
    undiffuse tune runs/digits ema
    undiffuse tune runs/digits-ddpm variance --keep
    undiffuse tune runs/digits grid --steps 4,8,16
    """
    if context.invoked_subcommand is None:
        raise Refused("say what to tune, behind the run: ema, variance or grid")
    context.obj = run
