"""`undiffuse compare`: several runs, the same seeds, one table."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from undiffuse.cli import options
from undiffuse.cli.commands import TYPED
from undiffuse.cli.evaluate import DRAWN, written
from undiffuse.cli.terminal import console, progress
from undiffuse.sampling.request import SampleRequest
from undiffuse.storage import output_paths

if TYPE_CHECKING:
    from undiffuse.evaluation.compare import Comparison


@options.sampling(without=("label", "indices"), help=DRAWN)
def compare(
    context: Context,
    runs: Annotated[list[Path], Argument(metavar="RUN RUN ...", help="Two or more run folders.")],
    against: options.FirstAgainst = None,
    data: options.Moved = None,
    features: options.Features = "pixels",
    metrics: options.Metrics = None,
    resize: options.Resize = None,
    *,
    request: SampleRequest,
    precision: options.Precision = "auto",
    cache: options.Cached = True,
    out: Annotated[Path, Option("-o", "--out", help="Folder for what is written.")] = Path("comparison"),
) -> None:
    """Compare runs with the same seeds on the same data. Writes one table and one page.

    Of autoencoders it is how they give back the same items.

    \b
    undiffuse compare runs/small runs/large
    undiffuse compare runs/a runs/b runs/c -n 5000 --features efficientnet-lite0 -o which
    """
    from undiffuse.data.paths import on
    from undiffuse.evaluation.compare import compare as compare_runs
    from undiffuse.evaluation.compare_reconstructions import compare_reconstructions
    from undiffuse.models.load import drawing, load
    from undiffuse.reports import compare_page, reconstructions_compared
    from undiffuse.sampling.evaluation_request import EvaluationRequest

    for name in compare_page.FILES:
        output_paths.writable(out / name)
    how = options.judge(features, metrics, resize, cache)
    asked = EvaluationRequest(against, request, how, context.meta[TYPED], progress)
    models = [load(run, precision) for run in runs]
    models[0] = replace(models[0], recipe=on(models[0].recipe, data))
    before = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if all(model.reconstructs for model in models):
        beside = compare_reconstructions(runs, models, asked)
        names = reconstructions_compared.save(beside, out)
        for each in reconstructions_compared.printed(beside):
            console().print(each)
    else:
        found = compare_runs(runs, [drawing(model, run) for model, run in zip(models, runs, strict=True)], asked)
        names = compare_page.save(found, out)
        show(found)
    print(written(out, names, before))


def show(comparison: "Comparison") -> None:
    """Print one row a number, one column a run, the best ones bold."""
    from rich.markup import escape

    from undiffuse.evaluation import wording
    from undiffuse.evaluation.compare import best
    from undiffuse.evaluation.number_table import number_table
    from undiffuse.sampling.guidance import words

    heads = ("metric", *(run.name for run in comparison.runs), "floor", "items a side")
    table = number_table(map(escape, heads))
    verdicts = [run.judged.verdicts for run in comparison.runs]
    for name in comparison.names:
        leading = best(verdicts, name)
        cells = []
        for i, each in enumerate(verdicts):
            value = wording.coloured(name, each[name])
            cells.append(f"[bold]* {value}[/]" if i in leading else value)
        first = verdicts[0][name]
        table.add_row(wording.title(name, first), *cells, wording.number(name, first["floor"]), f"{first['count']:,}")
    if found := comparison.likelihoods:
        title, values, _ = found
        cells = [f"[bold]* {value:.4f}[/]" if value == min(values) else f"{value:.4f}" for value in values]
        table.add_row(escape(title), *cells, "-", comparison.scored)
    for key in comparison.runs[0].costs:
        table.add_row(f"[dim]{key.replace('_', ' ')}[/]", *(f"{run.costs[key]:,.6g}" for run in comparison.runs))
    console().print(table)
    seen = wording.seen_in(comparison.about, comparison.real.train.vocabulary)
    console().print(f"[dim]* is best. {wording.FLOOR}{escape(seen)}[/]")
    if found and found[2] is not None:
        console().print(f"[dim]{escape(found[0])}: {found[2]:.4f} by counting in the training data alone.[/]")
    for run in comparison.runs:
        if said := words(run.drawn.request):
            console().print(f"[dim]{escape(run.name)}: {escape(said)}[/]")
    for warning in comparison.warnings:
        console().print(f"[yellow]take care:[/] {escape(warning)}")
