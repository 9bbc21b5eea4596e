"""The command's entry: its sub-commands, and what a person sees when something goes wrong."""

import gc
import os
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from sysconfig import get_path
from traceback import extract_tb
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from undiffuse import __version__
from undiffuse.cli import (
    chain,
    check_data,
    compare,
    decode,
    distill,
    edit,
    encode,
    evaluate,
    export,
    forecast,
    import_,
    listing,
    predict,
    sample,
    score,
    show,
    train,
    tune,
)
from undiffuse.cli.commands import USE, Command
from undiffuse.cli.commands import use as _use
from undiffuse.core.errors import Refused, near
from undiffuse.core.registry import USE as USE_IN_PYTHON
from undiffuse.progress import messages

# Threads that wait must sleep, not spin: on a machine that others use too, spinning makes a step several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

OBJECTS = 50_000  # new ones, before garbage is looked for: those of importing PyTorch all stay, and to look takes .3 s
PACKAGE = Path(__file__).resolve().parents[1]

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
    distill.distill,
    chain.chain,
    sample.sample,
    edit.edit,
    forecast.forecast,
    evaluate.evaluate,
    compare.compare,
    score.score,
    predict.predict,
    encode.encode,
    decode.decode,
    import_.import_,
    export.export,
    check_data.check_data,
    listing.list_,
    show.show,
):
    app.command(name=command.__name__.rstrip("_").replace("_", "-"), cls=Command)(command)
app.add_typer(tune.app, name="tune")


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
    use: Annotated[
        list[str] | None,
        typer.Option("--use", callback=_use, is_eager=True, expose_value=False, metavar="FILE", help=USE),
    ] = None,
) -> None:
    """Declares the options that every command has; `main` itself reads --debug, since it may stand anywhere."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 2 the request is refused, 130 interrupted, 1 anything else."""
    gc.set_threshold(OBJECTS)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as a program that runs in the background may find it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the program runs
    try:
        with messages():
            sys.exit(_command()(words, prog_name="undiffuse", standalone_mode=False) or 0)
    except KeyboardInterrupt:  # while there is no command yet that hears it
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has gone: `undiffuse list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)
    except Exception as error:
        if debug:
            raise
        print(f"error: {said(error)}", file=sys.stderr)
        sys.exit(2 if blame(error) else 1)


@cache
def _command() -> Any:
    """What typer makes of the functions above: once, however often a process calls `main`."""
    return get_command(app)


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
        said = parser_says().replace("Value error, ", "")
        choice = re.search(r"'([^']*)' is not one of (.*?)\.?$", said)
        return said + (near(choice[1], re.findall(r"'([^']+)'", choice[2])) if choice else "")
    if isinstance(error, Refused):
        return str(error).replace(USE_IN_PYTHON, "--use FILE.py")
    if _no_memory(error):
        return "there is not enough memory for this: ask for fewer or smaller ones at once (-n, --batch, train.batch)"
    file, line = _where(error)
    inside = PACKAGE in file.parents
    whose = f"this is a bug in undiffuse, unless {file.name} is yours" if inside else "this is in code of your own"
    return f"{type(error).__name__}: {error}\n{whose}, {file}:{line}; `--debug` shows the way there"


def _where(error: Exception) -> tuple[Path, int]:
    """The innermost line of this program or of a person's own code that the error went through."""
    frames = [(Path(frame.filename), frame.lineno or 0) for frame in extract_tb(error.__traceback__)]
    libraries = [Path(get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    for file, line in reversed(frames):
        if PACKAGE in file.parents or (file.is_file() and not any(path in file.parents for path in libraries)):
            return file, line
    return frames[-1]


def _no_memory(error: Exception) -> bool:
    """Whether memory ran out, as Python or PyTorch say it."""
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from undiffuse.core.devices import out_of_memory

    return out_of_memory(error)
