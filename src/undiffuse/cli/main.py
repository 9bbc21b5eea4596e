"""The command's entry: its sub-commands, and what a person sees when something goes wrong."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from undiffuse import __version__
from undiffuse.cli import check_data, compare, edit, evaluate, listing, sample, score, show, train, tune
from undiffuse.cli.commands import Command
from undiffuse.core.errors import Refused
from undiffuse.progress import messages

# Threads that wait must sleep, not spin: on a machine that others use too, spinning makes a step several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="undiffuse",
    help="Train diffusion models on your own data, sample them, and say how good they are.",
    epilog="Start with: undiffuse train digits --out runs/digits",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: half the start-up time
    pretty_exceptions_enable=False,
)
for command in (
    train.train,
    sample.sample,
    edit.edit,
    evaluate.evaluate,
    compare.compare,
    score.score,
    tune.tune,
    check_data.check_data,
    listing.list_,
    show.show,
):
    app.command(name=command.__name__.rstrip("_").replace("_", "-"), cls=Command)(command)


def _version(asked: bool) -> None:
    if asked:
        print(f"undiffuse {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Declares the options that every command has; `main` itself reads --debug, since it may stand anywhere."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 2 the request is refused, 130 interrupted, 1 anything else."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with messages():
            sys.exit(app(words, prog_name="undiffuse", standalone_mode=False) or 0)
    except BrokenPipeError:  # whoever read the output has gone: `undiffuse list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)
    except Exception as error:
        if debug:
            raise
        print(f"error: {said(error)}", file=sys.stderr)
        sys.exit(2 if blame(error) else 1)


def blame(error: Exception) -> bool:
    """Whether the error lies in what was asked for, and not in this program."""
    return isinstance(error, (Refused, OSError)) or hasattr(error, "format_message")


def said(error: Exception) -> str:
    """The error in one or two lines."""
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror.lower()}{place}"
    parser_says = getattr(
        error, "format_message", None
    )  # its own errors, wherever it keeps their classes in this version
    if parser_says is not None:
        return parser_says()
    if isinstance(error, Refused):
        return str(error)
    return f"{type(error).__name__}: {error}\nthis is a bug in undiffuse; `--debug` shows where it happened"
