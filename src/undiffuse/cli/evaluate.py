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
    from undiffuse.sampling.evaluation_request import Evaluated


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
    from undiffuse.data.paths import on
    from undiffuse.evaluation.evaluate import evaluate_samples
    from undiffuse.evaluation.record import EVALUATION
    from undiffuse.models.load import load
    from undiffuse.recipes import recipe
    from undiffuse.sampling.evaluation_request import EvaluationRequest
    from undiffuse.sampling.run import FILE
    from undiffuse.storage.files import own

    is_run = what.is_dir() and any((what / name).exists() for name in (FILE, recipe.FILE))
    words = [name if name in options.conditions() else options.CONDITION for name, _ in request.condition_words]
    drawing = [*words, *(name for name in request.to_json() if name not in ("seed", "condition_words"))]
    how = (options.judge(features, metrics, resize, cache), context.meta[TYPED], progress)
    if not is_run:
        if against is None:
            there = f"say what to judge {what} against: --against digits, a folder of images, or an .npz file"
            raise Refused(there if what.exists() else f"there is no run at {what}")
        _refuse_sampling(what, "finished samples", [*(["data"] if data else []), *drawing])
        if out is not None:
            output_paths.writable(out / EVALUATION)
        return _finish(evaluate_samples(what, against, EvaluationRequest(against, request, *how)), out, what)
    run = load(what, precision)
    if not run.draws:
        _refuse_sampling(what, run.what, drawing)
    folder = out or what
    own(folder)
    for name in run.writes:
        output_paths.writable(folder / name)
    run = replace(run, recipe=on(run.recipe, data))
    return _finish(run.evaluate(EvaluationRequest(against, request, *how)), folder, what)


def _finish(found: "Evaluated", folder: Path | None, run: Path) -> None:
    """Write what came out into the folder, where one is named, and print it."""
    before = _there(folder) if folder else set()
    names = found.save(folder, run) if folder else []
    for each in found.printed():
        console().print(each)
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
        raise Refused(f"{what} holds {holds}, and {options.flag(names[0])} is for drawing samples from a run")
