"""`undiffuse evaluate`: say how good a run or a set of samples is."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from undiffuse.cli.manners import console, progress
from undiffuse.core.errors import Refused
from undiffuse.drawing import places

if TYPE_CHECKING:
    from undiffuse.judging.evaluate import Evaluation

COUNT = 1000
FILES = ("samples.png", "denoising.png", "report.html")


def evaluate(
    what: Annotated[
        Path,
        Argument(metavar="RUN|SAMPLES", help="A run folder, or samples: an .npz or .npy file, or a folder of images."),
    ],
    against: Annotated[
        str | None,
        Option(metavar="DATA", help="A folder, a file or a data component. [default: what the run held out]"),
    ] = None,
    n: Annotated[
        int | None, Option("-n", "--count", help=f"How many samples to draw from a run. [default: {COUNT}]")
    ] = None,
    sampler: Annotated[str | None, Option(help="One of `undiffuse list samplers`. [default: the recipe's]")] = None,
    settings: Annotated[
        list[str] | None, Option("--set", metavar="FIELD=VALUE ...", help="Fields of the sampler: eta=0.5")
    ] = None,
    steps: Annotated[int | None, Option(help="Sampler steps. [default: the recipe's, else 20]")] = None,
    guidance: Annotated[
        float | None, Option(help="Weight of the condition; 1 is none. [default: the recipe's]")
    ] = None,
    seed: Annotated[int, Option(help="Of the samples and of the metrics' draws.")] = 0,
    precision: Annotated[str, Option(help="auto, float32 or bfloat16.")] = "auto",
    out: Annotated[
        Path | None,
        Option(
            "-o", "--out", help="Folder for what is written. [default: the run folder; samples: nothing is written]"
        ),
    ] = None,
) -> None:
    """Judge a run or samples: every metric beside its floor, the same metric between two real parts.

    \b
    undiffuse evaluate runs/digits
    undiffuse evaluate samples.npz --against digits
    """
    from undiffuse.drawing.draw import Wish
    from undiffuse.judging.evaluate import evaluate_run, evaluate_samples
    from undiffuse.judging.record import EVALUATION
    from undiffuse.model import model, recipe

    command = shlex.join(["undiffuse", *sys.argv[1:]])
    if not what.is_dir() or not any((what / name).exists() for name in (model.FILE, recipe.FILE)):
        if against is None:
            raise Refused(
                f"say what to judge {what} against: --against digits, a folder of images, or an .npz file"
                if what.exists()
                else f"there is no run at {what}"
            )
        _refuse_sampling(what, n=n, sampler=sampler, set=settings, steps=steps, guidance=guidance)
        if out is not None:
            places.writable(out / EVALUATION)
        judged = evaluate_samples(what, against, seed, command)
        _print(judged)
        if out is not None:
            judged.save(out)
            print(f"written: {out / EVALUATION}")
        return
    from undiffuse.judging.report import denoising_picture, report, samples_picture
    from undiffuse.pictures import png, write

    folder = out or what
    for name in (*FILES, EVALUATION):
        places.writable(folder / name)
    wish = Wish(seed, sampler, settings or (), steps, guidance)
    trained = model.load(what, precision=precision)
    with progress("sampling", "step") as advance:
        found = evaluate_run(trained, against, COUNT if n is None else n, wish, command, advance)
    found.save(folder)
    contents = (png(samples_picture(found)), png(denoising_picture(found)), report(found, what).encode())
    for name, content in zip(FILES, contents, strict=True):
        write(folder / name, content)
    _print(found)
    print(f"written to {folder}: {', '.join((*FILES, EVALUATION))}")


def _refuse_sampling(what: Path, **options: object) -> None:
    given = next((name for name, value in options.items() if value), None)
    if given:
        option = "-n" if given == "n" else f"--{given}"
        raise Refused(f"{what} holds finished samples, and {option} is for drawing them from a run")


def _print(judged: "Evaluation") -> None:
    from rich.table import Table

    from undiffuse.judging import wording

    colours = {"good": "green", "fair": "yellow", "poor": "red"}
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("metric")
    for head in ("value", "floor", "ratio", "items a side"):
        table.add_column(head, justify="right")
    for name, verdict in judged.verdicts.items():
        value = f"[{colours[wording.grade(verdict)]}]{wording.number(name, verdict['value'])}[/]"
        table.add_row(
            wording.word(name).title,
            value,
            wording.number(name, verdict["floor"]),
            wording.ratio(name, verdict),
            f"{verdict['count']:,}",
        )
    console().print(table)
    console().print(f"[dim]{wording.FLOOR}[/]")
    for warning in judged.warnings:
        console().print(f"[yellow]take care:[/] {warning}")
