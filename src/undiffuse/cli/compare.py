"""`undiffuse compare`: several runs, the same seeds, one table."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Context, Option

from undiffuse.cli import options
from undiffuse.cli.commands import TYPED
from undiffuse.cli.evaluate import written
from undiffuse.cli.terminal import console, progress
from undiffuse.storage import output_paths

if TYPE_CHECKING:
    from undiffuse.evaluation.compare import Comparison


def compare(
    context: Context,
    runs: Annotated[list[Path], Argument(metavar="RUN RUN ...", help="Two or more run folders.")],
    n: Annotated[
        int | None, Option("-n", "--count", help="How many to draw from each. [default: 1000; 200 texts]")
    ] = None,
    against: options.FirstAgainst = None,
    data: options.Moved = None,
    features: options.Features = "pixels",
    metrics: options.Metrics = None,
    resize: options.Resize = None,
    sampler: options.Sampler = None,
    settings: options.Settings = None,
    steps: options.Steps = None,
    text: options.Text = None,
    image: options.Picture = None,
    map_: options.Map = None,
    vector: options.Vector = None,
    condition: options.Condition = None,
    guidance: options.Guidance = None,
    interval: options.Interval = None,
    rescale: options.Rescale = None,
    threshold: options.Threshold = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    classifier: options.Classifier = None,
    by: options.By = "guess",
    seed: options.Seed = 0,
    precision: options.Precision = "auto",
    cache: options.Cached = True,
    out: Annotated[Path, Option("-o", "--out", help="Folder for what is written.")] = Path("comparison"),
) -> None:
    """Compare runs: the same seeds from each, judged against the same data, in one table and on one page.

    \b
    undiffuse compare runs/small runs/large
    undiffuse compare runs/a runs/b runs/c -n 5000 --features efficientnet-lite0 -o which
    """
    from undiffuse.data.paths import on
    from undiffuse.evaluation.compare import compare as compare_runs
    from undiffuse.models.load import generator
    from undiffuse.reports import compare_page
    from undiffuse.sampling.request import SampleRequest
    from undiffuse.sampling.run import EvaluationRequest
    from undiffuse.sampling.steering import Steering

    for name in compare_page.FILES:
        output_paths.writable(out / name)
    how = options.judge(features, metrics, resize, cache)
    told = options.told(condition, text=text, image=image, map=map_, vector=vector)
    steering = Steering.read(guidance, interval, rescale, threshold, temperature, top_k, top_p)
    leads = options.classifier(classifier)
    wish = SampleRequest(seed, sampler, settings or (), steps, steering, told=told, classifier=leads, form=by)
    asked = EvaluationRequest(against, n, wish, seed, how, context.meta[TYPED], progress)
    models = [generator(run, precision) for run in runs]
    models[0] = replace(models[0], recipe=on(models[0].recipe, data))
    found = compare_runs(runs, models, asked)
    before = {path.name for path in out.iterdir()} if out.is_dir() else set()
    names = compare_page.save(found, out)
    show(found)
    print(written(out, names, before))


def show(comparison: "Comparison") -> None:
    """Print one row a number, one column a run, the best ones bold."""
    from rich.markup import escape
    from rich.table import Table

    from undiffuse.evaluation import wording
    from undiffuse.evaluation.compare import best

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("metric")
    for head in (*(run.name for run in comparison.runs), "floor", "items a side"):
        table.add_column(escape(head), justify="right")
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
        if words := run.drawn.steering.words():
            console().print(f"[dim]{escape(run.name)}: {escape(words)}[/]")
    for warning in comparison.warnings:
        console().print(f"[yellow]take care:[/] {escape(warning)}")
