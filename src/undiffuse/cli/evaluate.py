"""`undiffuse evaluate`: say how good a run or a set of samples is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from undiffuse.cli.commands import TYPED
from undiffuse.cli.manners import console, progress
from undiffuse.core.errors import Refused
from undiffuse.drawing import places

if TYPE_CHECKING:
    from undiffuse.drawing.draw import Wish
    from undiffuse.judging.evaluate import Evaluation


def evaluate(
    context: Context,
    what: Annotated[
        Path,
        Argument(metavar="RUN|SAMPLES", help="A run folder, or samples: an .npz or .npy file, or a folder of images."),
    ],
    against: Annotated[
        str | None,
        Option(metavar="DATA", help="A folder, a file or a data component. [default: what the run held out]"),
    ] = None,
    n: Annotated[
        int | None,
        Option(
            "-n",
            "--count",
            help="How many to draw. [default: 1000]",
        ),
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
    """Judge a run or samples. Every metric stands beside its floor, the same metric between two real parts.

    \b
    undiffuse evaluate runs/digits
    undiffuse evaluate samples.npz --against digits
    """
    from undiffuse.model import model, recipe

    command = context.meta[TYPED]
    if what.is_dir() and any((what / name).exists() for name in (model.FILE, recipe.FILE)):
        from undiffuse.drawing.draw import Wish

        wish = Wish(seed, sampler, settings or (), steps, guidance)
        return _run(what, against, n, wish, precision, out or what, command)
    if against is None:
        there = f"say what to judge {what} against: --against digits, a folder of images, or an .npz file"
        raise Refused(there if what.exists() else f"there is no run at {what}")
    _refuse_sampling(what, n=n, sampler=sampler, set=settings, steps=steps, guidance=guidance)
    return _samples(what, against, seed, out, command)


def _run(
    run: Path, against: str | None, n: int | None, wish: "Wish", precision: str, folder: Path, command: str
) -> None:
    """Draw from a run, judge, print, and write the report and its pictures into the folder."""
    from undiffuse.judging import report
    from undiffuse.judging.evaluate import evaluate_run
    from undiffuse.model.model import load

    for name in report.FILES:
        places.writable(folder / name)
    model = load(run, precision=precision)
    found = evaluate_run(model, against, n, wish, command, progress)
    report.save(found, folder, run)
    _print(found)
    print(f"written to {folder}: {', '.join(report.FILES)}")


def _samples(path: Path, against: str, seed: int, folder: Path | None, command: str) -> None:
    """Judge finished samples, print, and write the numbers where a folder is named."""
    from undiffuse.judging.evaluate import evaluate_samples
    from undiffuse.judging.record import EVALUATION

    if folder is not None:
        places.writable(folder / EVALUATION)
    judged = evaluate_samples(path, against, seed, command)
    if folder is not None:
        judged.save(folder)
    _print(judged)
    if folder is not None:
        print(f"written: {folder / EVALUATION}")


def _refuse_sampling(what: Path, **options: object) -> None:
    given = next((name for name, value in options.items() if value), None)
    if given:
        option = "-n" if given == "n" else f"--{given}"
        raise Refused(f"{what} holds finished samples, and {option} is for drawing them from a run")


def _print(judged: "Evaluation") -> None:
    from rich.table import Table

    from undiffuse.judging import wording

    colours = {"good": "green", "fair": "yellow", "poor": "red", "": "default"}
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("metric")
    for head in ("value", "floor", "ratio", "items a side"):
        table.add_column(head, justify="right")
    for name, verdict in judged.verdicts.items():
        value = f"[{colours[wording.grade(name, verdict)]}]{wording.number(name, verdict['value'])}[/]"
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
