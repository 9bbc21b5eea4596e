"""`undiffuse tune RUN ...`: improve a finished run without training it again, or a recipe; one file for each thing."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Context, Typer

from undiffuse.cli.commands import Command
from undiffuse.cli.tune import augmentation, ema, grid, lr, variance
from undiffuse.core.errors import Refused

app = Typer(invoke_without_command=True, rich_markup_mode=None, add_completion=False)
for command in (ema.ema, variance.variance, grid.grid, augmentation.augmentation, lr.lr):
    app.command(name=command.__name__, cls=Command)(command)


@app.callback()
def tune(
    context: Context,
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a trained model; for lr, a recipe.")],
) -> None:
    """Improve a finished run without training. Finds the length of its averaged weights, the variance of its steps,
    plans of few steps, or the noise between the stages of a chain; and the learning rate of a recipe.

    \b
    undiffuse tune runs/digits ema
    undiffuse tune runs/digits-ddpm variance --keep
    undiffuse tune runs/digits grid --steps 4,8,16
    undiffuse tune runs/cascade augmentation --keep
    undiffuse tune digits lr
    """
    if context.invoked_subcommand is None:
        raise Refused("say what to tune, behind the run: ema, variance, grid, augmentation or lr")
    context.obj = run
