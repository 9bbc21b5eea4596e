"""`undiffuse train`: make a model from a recipe."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from undiffuse.cli.manners import duration


def train(
    recipe: Annotated[
        str, Argument(metavar="RECIPE", help="One of `undiffuse list recipes`, a .toml file, or a run folder.")
    ],
    settings: Annotated[
        list[str] | None, Option("--set", metavar="TABLE.FIELD=VALUE ...", help="Change the recipe: train.steps=2000")
    ] = None,
    out: Annotated[Path | None, Option("-o", "--out", help="The run folder. [default: runs/RECIPE]")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the run folder's newest checkpoint.")] = False,
) -> None:
    """Train a model. Ctrl-C saves and exits; --resume goes on as if nothing had happened.

    \b
    undiffuse train digits --out runs/digits
    undiffuse train digits --set train.steps=2000 network.width=32 --out runs/larger
    undiffuse train digits --set data.name=folder data.path=photos data.size=32 --out runs/photos
    """
    from undiffuse.jobs import train

    training = train(recipe, out=out, overrides=settings or (), resume=resume)
    training.run()
    if training.stopped:  # training has said how to go on
        raise Exit(128 + training.stopped)  # 130 after Ctrl-C, 143 after SIGTERM
    print(f"{training.folder}: {training.step} steps in {duration(training.seconds)}")
    print(f"next: undiffuse sample {training.folder}   or: undiffuse evaluate {training.folder}")
