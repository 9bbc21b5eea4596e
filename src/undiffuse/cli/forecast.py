"""`undiffuse forecast`: what comes next in a series, and what is missing of it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from undiffuse.cli import options
from undiffuse.cli.terminal import progress, tell
from undiffuse.core.errors import Refused
from undiffuse.sampling.request import SampleRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from undiffuse.editing.forecast import SeriesForecast

DRAWS = 100
DATA = "data."  # before settings that say how to read the file


@options.sampling(without=("known",), help={"n": "How many draws. [default: 100]"})
def forecast(
    run: Annotated[Path, Argument(metavar="RUN", help="The run folder of a model of series.")],
    series: Annotated[str, Argument(metavar="FILE", help="A .csv or .tsv with the run's channels, a line a step.")],
    horizon: Annotated[
        int | None,
        Option(metavar="STEPS", help="How many steps; 0: only fill in what is missing. [default: those of training]"),
    ] = None,
    *,
    request: SampleRequest,
    out: Annotated[
        Path | None,
        Option(
            "-o", "--out",
            help="Quantiles (.csv), the draws (.npz), a picture (.png, .jpg, .webp) or - for stdout. "
            "[default: forecast.csv in the run folder]",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Forecast a series, or fill in what is missing of it. The draws are written as quantiles.

    \b
    undiffuse forecast runs/load recent.csv -o forecast.csv
    undiffuse forecast runs/load recent.csv --horizon 12 -n 500 -o draws.npz
    undiffuse forecast runs/load recent.csv -o forecast.png
    undiffuse forecast runs/load gaps.csv --horizon 0 -o filled.csv
    undiffuse forecast runs/load other.csv --set data.time=hour data.drop=remark
    undiffuse forecast runs/load shops.csv --set data.by=shop -o forecast.csv
    """
    from undiffuse.editing import forecast as forecasts
    from undiffuse.models.load import generator
    from undiffuse.storage import output_paths

    target = output_paths.file(out, run, "forecast.csv", tuple(FORMS))
    model = generator(run)
    steps = forecasts.horizon_of(model, horizon)
    reading = {name: value for name, value in request.settings.items() if name.startswith(DATA)}
    request = replace(request, settings={k: v for k, v in request.settings.items() if k not in reading})
    known, by = forecasts.read(model, series, {name.removeprefix(DATA): value for name, value in reading.items()})
    suffix = target.suffix.lower() if target.suffix.lower() in FORMS else ".csv"
    if len(known) > 1 and FORMS[suffix] is _picture:
        raise Refused(f"a picture is of one series, and {series} has {len(known)}: ask for .csv or .npz")
    n = DRAWS if request.n is None else request.n
    with progress("forecasting", "step") as advance:
        found = forecasts.forecast(model, known, steps, n, request, advance)
    output_paths.put(target, FORMS[suffix](found, by, suffix))
    drawn, places = (sum(map(count, found.values())) for count in (_drawn, _steps))
    which = f" of {len(found)} series" if by else ""
    tell(f"{target}: {n} draws of {drawn} numbers in {places} steps{which}, seed {request.seed}")


def _drawn(found: "SeriesForecast") -> int:
    return int(found.asked.sum())


def _steps(found: "SeriesForecast") -> int:
    return len(found.steps)


def _table(found: "Mapping[str, SeriesForecast]", by: str, suffix: str) -> bytes:
    from undiffuse.editing import forecast as forecasts

    return forecasts.table(found, by)


def _arrays(found: "Mapping[str, SeriesForecast]", by: str, suffix: str) -> bytes:
    from undiffuse.editing import forecast as forecasts

    return forecasts.arrays(found, by)


def _picture(found: "Mapping[str, SeriesForecast]", by: str, suffix: str) -> bytes:
    (only,) = found.values()
    return only.picture(suffix)


FORMS = {".csv": _table, ".npz": _arrays, **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), _picture)}
