"""A forecast of a file of series: draws of its next steps, or of its missing numbers, and their quantiles."""

import csv
import io
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from undiffuse.core import registry
from undiffuse.core.errors import Refused, unknown
from undiffuse.data.series_file import SeriesFile
from undiffuse.editing.impute import completed_by, impute, windows
from undiffuse.progress import Advance
from undiffuse.sampling.dates import UNITS
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.request import SampleRequest

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DIGITS = 9  # that tell every float32 from the next one
# what a recipe says of reading a file of series
READING = ("time", "columns", "drop", "header", "encoding", "by", "dates")
PAST = 2  # times as many steps as are forecast, in a picture


@dataclass(frozen=True, eq=False)
class SeriesForecast:
    """series: what is known. steps: (k,) which steps of it, or beyond its end, have numbers that were drawn; samples:
    (n, k, channels) in the data's units, with the known ones where they are.
    """

    series: SeriesFile
    steps: np.ndarray
    samples: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """Which numbers were drawn, booleans (k, channels)."""
        inside = self.steps < len(self.series.values)
        known = np.isnan(self.series.values[np.where(inside, self.steps, 0)])
        return known | ~inside[:, None]

    def rows(self) -> list[list[str]]:
        """A row a step: its time, and of each channel mean, deviation and quantiles of the draws."""
        x = self.samples
        columns = np.stack([x.mean(0), x.std(0), *np.quantile(x, QUANTILES, axis=0)], axis=2)  # (k, channels, heads)
        times = self.series.clock.written(self.steps)
        return [[time, *(f"{v:.{DIGITS}g}" for v in row.ravel())] for time, row in zip(times, columns, strict=True)]

    def picture(self, suffix: str) -> bytes:
        """What is known as a line, the draws as bands of 50 and 90 %, and their median."""
        from undiffuse.pictures import encoded, fans

        start = max(0, int(self.steps[0]) - max(PAST * len(self.steps), 10))
        known = self.series.values[start:]
        return encoded(fans(known, self.samples, self.steps - start, self.series.names), suffix)


def table(found: Mapping[str, SeriesForecast], by: str = "") -> bytes:
    """A .csv with the rows of each; by: the column in front that says which series a row is of, "": there is none."""
    first = next(iter(found.values())).series
    heads = [f"{name} {what}" for name in first.names for what in ("mean", "std", *(f"{q:g}" for q in QUANTILES))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*([by] if by else []), first.clock.name or "step", *heads])
    for word, each in found.items():
        writer.writerows([*([word] if by else []), *row] for row in each.rows())
    return text.getvalue().encode()


def arrays(found: Mapping[str, SeriesForecast], by: str = "") -> bytes:
    """An .npz: samples, asked, times and names; by: and `series`, of which each step is."""
    each, file = list(found.values()), io.BytesIO()
    which = {"series": np.repeat(list(found), [len(one.steps) for one in each])} if by else {}
    times = [time for one in each for time in one.series.clock.written(one.steps)]
    np.savez_compressed(
        file,
        allow_pickle=False,
        samples=np.concatenate([one.samples for one in each], axis=1),
        asked=np.concatenate([one.asked for one in each]),
        times=np.array(times),
        names=each[0].series.names,
        **which,
    )
    return file.getvalue()


def read(
    model: Generator, path: str, settings: Mapping[str, Any] = MappingProxyType({})
) -> tuple[dict[str, SeriesFile], str]:
    """A file with the channels of the model's own data, which is read as these were, or by settings of its own: its
    series by their names, and the column of these, "" where there is none.
    """
    if wrong := next((name for name in settings if name not in READING), None):
        raise unknown("settings of reading a series", wrong, READING)
    data = {**model.recipe["data"], **settings}
    told = {name: data[name] for name in READING if name in data}
    learned = model.facts.get("data", {}).get("series", {})
    names = learned.get("names", ())
    if names and "columns" not in settings:
        told["columns"] = tuple(names)
    found = registry.build("data", {"name": "series", "path": path, **told}).each_series()
    channels, own = model.data_shape[0], next(iter(found.values())).names
    if len(own) != channels:
        raise Refused(
            f"{path} has the columns {', '.join(own)}, and the run's series have {channels} channel"
            + "s" * (channels != 1)
        )
    step, unit = float(learned.get("step", 1.0)), str(learned.get("unit", ""))
    return {word: _in_step(each, step, unit, path) for word, each in found.items()}, str(told.get("by", ""))


def _in_step(series: SeriesFile, step: float, unit: str, path: str) -> SeriesFile:
    """The series, a single line of it with the steps of dates that were learned; warns of steps of another length."""
    clock = series.clock
    if unit not in UNITS or clock.unit not in UNITS:
        return series
    wanted = step * UNITS[unit] / UNITS[clock.unit]
    if len(series.values) == 1:
        return replace(series, clock=replace(clock, step=wanted))
    if not math.isclose(clock.step, wanted, rel_tol=1e-6):
        logging.getLogger("undiffuse").warning(
            "%s has steps of %g %s, and the run learned from steps of %g: each is taken for one of those",
            path, clock.step, clock.unit, wanted,
        )  # fmt: skip
    return series


def horizon_of(model: Generator, asked: int | None) -> int:
    """How many steps to forecast: those that training hides at the end, or fewer; 0: none. Raises Refused for more."""
    said = str(model.recipe["conditions"].get(completed_by(model), {}).get("of", ""))
    words = [word.strip().partition(":") for word in said.split(",")]
    trained = max((int(number) for kind, _, number in words if kind == "forecast"), default=0)
    if asked is not None and not 0 <= asked <= trained:
        raise Refused(
            f"--horizon {asked}: the run was trained to forecast {trained} steps (conditions.known.of = {said!r}); "
            "train one that forecasts more: --set conditions.known.of=forecast:STEPS"
        )
    return trained if asked is None else asked


def forecast(
    model: Generator, known: Mapping[str, SeriesFile], horizon: int, n: int, request: SampleRequest, progress: Advance
) -> dict[str, SeriesForecast]:
    """n draws of the next steps of each series, with what is missing of the steps before; with horizon 0 of all that is
    missing, of those series of which something is. Raises Refused where nothing is.
    """
    if len(model.data_shape) != 2:
        raise Refused(f"forecasts are of series, and the run's items have the shape {model.data_shape}")
    asked = {word: list(windows(each.values, model.data_shape[1], horizon)) for word, each in known.items()}
    total, before = sum(map(len, asked.values())), 0
    made: dict[str, SeriesForecast] = {}
    for word, parts in asked.items():
        found: dict[int, np.ndarray] = {}
        for start, x in parts:

            def report(done: int, all_: int, before: int = before) -> None:
                progress(before * all_ + done, total * all_)

            drawn = impute(model, x, n, request, progress=report).double().numpy()
            before += 1
            last = len(known[word].values) + horizon - start
            for place in np.flatnonzero(np.isnan(x).any(0)):
                if start + place >= 0 and place < last:
                    found.setdefault(start + int(place), drawn[:, :, place])
        if found:
            steps = np.array(sorted(found))
            made[word] = SeriesForecast(known[word], steps, np.stack([found[step] for step in steps.tolist()], axis=1))
    if not made:
        raise Refused("no number of the series is missing: say how far to forecast, --horizon STEPS")
    return made
