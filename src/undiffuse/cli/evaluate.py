"""`undiffuse evaluate`: say how good a run or a set of samples is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from undiffuse.cli import options
from undiffuse.cli.commands import TYPED
from undiffuse.cli.terminal import console, progress
from undiffuse.core.errors import Refused
from undiffuse.sampling.request import SampleRequest
from undiffuse.storage import output_paths

if TYPE_CHECKING:
    from undiffuse.evaluation.evaluate import Evaluation
    from undiffuse.evaluation.judge import Judge

DRAWN = {"n": "How many to draw. [default: 1000; 200 texts]", "seed": "Of the samples and of the metrics' draws."}


@options.sampling(without=("label", "indices"), help=DRAWN)
def evaluate(
    context: Context,
    what: Annotated[
        Path,
        Argument(metavar="RUN|SAMPLES", help="A run folder, or samples: an .npz or .npy file, or a folder of images."),
    ],
    against: options.Against = None,
    data: options.Moved = None,
    features: options.Features = "pixels",
    metrics: options.Metrics = None,
    resize: options.Resize = None,
    *,
    request: SampleRequest,
    precision: options.Precision = "auto",
    cache: options.Cached = True,
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
    undiffuse evaluate samples/ --against photos/ --features efficientnet-lite0 --resize 64 -o judged
    """
    from undiffuse.models import diffusion
    from undiffuse.models.run import is_classifier_run
    from undiffuse.recipes import recipe

    command = context.meta[TYPED]
    is_run = what.is_dir() and any((what / name).exists() for name in (diffusion.FILE, recipe.FILE))
    drawing = [*(["data"] if data else []), *(name for name in request.to_json() if name != "seed")]
    if not is_run:
        if against is None:
            there = f"say what to judge {what} against: --against digits, a folder of images, or an .npz file"
            raise Refused(there if what.exists() else f"there is no run at {what}")
        _refuse_sampling(what, "finished samples", drawing)
    elif is_classifier_run(what):
        _refuse_sampling(what, "a classifier of noisy samples", [name for name in drawing if name != "data"])
        return _classifier(what, against, data, request.seed, out or what, command)
    how = judge(features, metrics, resize, cache)
    if not is_run:
        assert against is not None, "asked for above"
        return _samples(what, against, request.seed, out, command, how)
    return _run(what, against, data, request, precision, out or what, command, how)


def judge(features: str, metrics: str | None, resize: int | None, cache: bool) -> "Judge":
    """How to judge, as it was typed; raises Refused for names that do not exist."""
    from undiffuse.evaluation.judge import Judge

    names = tuple(name.strip() for name in metrics.split(",") if name.strip()) if metrics else ()
    return Judge(features, names, resize, cache)


def _run(
    run: Path,
    against: str | None,
    data: str | None,
    request: SampleRequest,
    precision: str,
    folder: Path,
    command: str,
    how: "Judge",
) -> None:
    """Draw from a run, judge, print, and write the report and its pictures into the folder."""
    from undiffuse.data.paths import on
    from undiffuse.evaluation.evaluate import evaluate_run
    from undiffuse.models.diffusion import load
    from undiffuse.reports import report
    from undiffuse.sampling.guidance import words
    from undiffuse.storage.files import own

    own(folder)
    for name in report.FILES:
        output_paths.writable(folder / name)
    diffusion = load(run, precision=precision)
    diffusion = replace(diffusion, recipe=on(diffusion.recipe, data))
    found = evaluate_run(diffusion, against, request.n, request, command, progress, how)
    before = _there(folder)
    names = report.save(found, folder, run)
    show(found)
    if said := words(found.drawn.request):
        print(f"samples were drawn with {said}")
    print(written(folder, names, before))


def _classifier(run: Path, against: str | None, data: str | None, seed: int, folder: Path, command: str) -> None:
    """Measure a classifier of noisy samples, print, and write the numbers into the folder."""
    from rich.table import Table

    from undiffuse.data.paths import on
    from undiffuse.evaluation.label_accuracy import evaluate_classifier
    from undiffuse.evaluation.record import EVALUATION
    from undiffuse.models.classifier import load_classifier
    from undiffuse.storage.files import own

    own(folder)
    output_paths.writable(folder / EVALUATION)
    diffusion = load_classifier(run)
    found = evaluate_classifier(replace(diffusion, recipe=on(diffusion.recipe, data)), against, seed, command)
    before = _there(folder)
    names = found.save(folder)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for head in ("noise level", "held out", "training items", "nats, held out"):
        table.add_column(head, justify="right")
    for noise, unseen, seen, nats in zip(found.noise, found.held_out, found.train, found.nats, strict=True):
        table.add_row(f"{noise:.3g}", f"{100 * unseen:.1f} %", f"{100 * seen:.1f} %", f"{nats:.3f}")
    console().print(table)
    console().print("[dim]Items whose class is told, by sigma/alpha. What guides is the slope of log p(class).[/]")
    if found.warning:
        console().print(f"[yellow]take care:[/] {found.warning}")
    print(written(folder, names, before))


def _samples(path: Path, against: str, seed: int, folder: Path | None, command: str, how: "Judge") -> None:
    """Judge finished samples, print, and write the numbers and the closest pairs where a folder is named."""
    from undiffuse.evaluation.evaluate import evaluate_samples
    from undiffuse.evaluation.record import EVALUATION

    if folder is not None:
        output_paths.writable(folder / EVALUATION)
    judged = evaluate_samples(path, against, seed, command, how, progress)
    before = _there(folder) if folder else set()
    names = judged.save(folder) if folder else []
    show(judged)
    if folder is not None:
        print(written(folder, names, before))


def _there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def written(folder: Path, names: list[str], before: set[str]) -> str:
    """What was written where, and whether files of these names were there `before`."""
    over = " (over the last ones)" if before & set(names) else ""
    return f"written to {folder}: {', '.join(names)}{over}"


def _refuse_sampling(what: Path, holds: str, names: Sequence[str]) -> None:
    if names:
        option = options.flag(names[0])
        raise Refused(f"{what} holds {holds}, and {option} is for drawing them from a run")


def show(judged: "Evaluation") -> None:
    """Print one table of all numbers, the worst columns of a table, and every reason to be careful."""
    from rich.markup import escape
    from rich.table import Table

    from undiffuse.evaluation import nll, wording

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("metric")
    for head in ("value", "floor", "ratio", "items a side"):
        table.add_column(head, justify="right")
    for name, verdict in judged.verdicts.items():
        value = f"[{COLOURS[wording.grade(name, verdict)]}]{wording.number(name, verdict['value'])}[/]"
        floor, ratio = wording.number(name, verdict["floor"]), wording.ratio(name, verdict)
        table.add_row(wording.title(name, verdict), value, floor, ratio, f"{verdict['count']:,}")
        for column in wording.worst(verdict):
            table.add_row(f"[dim]  {escape(column)}[/]")
    if judged.verdicts:
        console().print(table)
    if "likelihood" in judged.about:
        console().print("\n".join(nll.lines(judged.about["likelihood"])))
    if judged.verdicts:
        seen = wording.seen_in(judged.about, judged.real.train.vocabulary)
        console().print(f"[dim]{wording.FLOOR}{escape(seen)}[/]")
        if slow := wording.slow(judged.about["seconds_by_metric"]):
            console().print(f"[dim]{slow}[/]")
    for warning in judged.warnings:
        console().print(f"[yellow]take care:[/] {escape(warning)}")


COLOURS = {"good": "green", "fair": "yellow", "poor": "red", "": "default"}
