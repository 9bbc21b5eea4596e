"""`undiffuse predict`: say what a run expects of each row's target, and how sure it is."""

import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.terminal import progress, tell
from undiffuse.storage import output_paths

STDIN = "-"


def predict(
    run: Annotated[Path, Argument(metavar="RUN", help="A run folder.")],
    rows: Annotated[
        str,
        Argument(metavar="ROWS", help="A .csv file with the run's columns, - for stdin, or data as for training."),
    ],
    out: Annotated[
        Path | None,
        Option("-o", "--out", help="A .csv file, - for stdout. [default: predictions.csv in the run folder]"),
    ] = None,
    quantiles: Annotated[str, Option(metavar="A,B,C", help="Levels of the quantiles.")] = ".05,.5,.95",
    samples: Annotated[bool, Option("--samples", help="Write every draw, too.")] = False,
    count: Annotated[int, Option("-n", "--count", help="How often each row is drawn.")] = 200,
    steps: Annotated[int | None, Option(help="Sampler steps. [default: the recipe's]")] = None,
    seed: options.Seed = 0,
) -> None:
    """Predict the target of each row with its uncertainty. That is its mean, std and quantiles, or the
    chance of each class.

    \b
    undiffuse predict runs/concrete mixes.csv -o predicted.csv
    undiffuse predict runs/concrete mixes.csv --quantiles .025,.975 --samples
    undiffuse predict runs/digits-card digits.npz -n 100
    grep -v old mixes.csv | undiffuse predict runs/concrete - -o -

    A row needs the columns that the run was trained on; the target's own is not needed.
    """
    import polars as pl

    from undiffuse.data.to_predict import inputs
    from undiffuse.models.load import denoising
    from undiffuse.sampling.predicting import inputs_name
    from undiffuse.sampling.predicting import predict as predicted
    from undiffuse.sampling.predictions import checked
    from undiffuse.sampling.request import SampleRequest
    from undiffuse.sampling.words import numbers

    levels = checked(numbers(quantiles, "quantiles are levels between commas: .05,.5,.95"))
    target = output_paths.file(out, run, "predictions.csv")
    model = denoising(run, precision="float32")
    inputs_name(model)
    with TemporaryDirectory() if rows == STDIN else nullcontext() as folder:
        x, cells = inputs(model, rows if folder is None else _from_stdin(Path(folder)))
    with progress("predicting", "step") as advance:
        found = predicted(model, x, count, SampleRequest(seed=seed, steps=steps), advance)
    frame = found.frame(levels, samples)
    if cells is not None:
        frame = pl.concat(
            [cells.drop([name for name in frame.columns if name in cells.columns]), frame], how="horizontal"
        )
    output_paths.put(target, frame.write_csv().encode())
    if target != output_paths.STDOUT:
        tell(f"{len(x):,} rows, {count} draws each, written to {target}")


def _from_stdin(folder: Path) -> str:
    """What is typed or piped in, as a file in the folder."""
    place = folder / "stdin.csv"
    place.write_bytes(sys.stdin.buffer.read())
    return str(place)
