"""Autoencoders beside each other: the same items through each, in one picture, one table and on one page."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from undiffuse import pictures
from undiffuse.evaluation import wording
from undiffuse.evaluation.compare_reconstructions import ReconstructionComparison, Row
from undiffuse.evaluation.number_table import number_table
from undiffuse.pictures import png
from undiffuse.reports import charts, page
from undiffuse.reports.charts import COLOURS, Line
from undiffuse.reports.compare_page import FILES
from undiffuse.storage.files import write_bytes, write_json

SHOWN, POINTS = 10, 1000
FLOOR = "Of PSNR and SSIM the floor is that of as many principal components as the first run has latents."


def save(comparison: ReconstructionComparison, folder: Path) -> list[str]:
    """Write the files that `compare_page` does; returns their names."""
    write_bytes(folder / FILES[0], text(comparison).encode())
    write_bytes(folder / FILES[1], png(picture(comparison)))
    write_json(folder / FILES[2], comparison.content())
    return list(FILES)


def picture(comparison: ReconstructionComparison) -> Image.Image:
    """The first items, and below what each run makes of them; of points a plot a run, beside the items."""
    x, runs = comparison.runs[0].x, comparison.runs
    if x.ndim == 2:
        made = [run.made[:POINTS] for run in runs]
        plots = [pictures.overview(each, beside=x[:POINTS], like=made).convert("RGB") for each in made]
        whole = Image.new("RGB", (max(p.width for p in plots), sum(p.height for p in plots)), "white")
        for i, plot in enumerate(plots):
            whole.paste(plot, (0, sum(p.height for p in plots[:i])))
        return whole
    parts = [x[:SHOWN], *(run.made[:SHOWN] for run in runs)]
    span = pictures.shared_span(parts)
    return pictures.lined(np.stack([pictures.as_images(part, span) for part in parts]), ["data", *comparison.names])


def printed(comparison: ReconstructionComparison) -> Iterator[Any]:
    """One row a number, one column a run, the best ones bold."""
    from rich.markup import escape as plain

    table = number_table(map(plain, ("metric", *comparison.names, "floor")))
    for row in comparison.rows:
        cells = [f"[bold]* {_said(v)}[/]" if i in row.best else _said(v) for i, v in enumerate(row.values)]
        table.add_row(plain(row.title), *cells, _said(row.floor))
    yield table
    yield f"[dim]* is best. {wording.FLOOR} {FLOOR}[/]"
    for warning in comparison.warnings:
        yield f"[yellow]take care:[/] {plain(warning)}"


def text(comparison: ReconstructionComparison) -> str:
    """The page; nothing on it leaves the file."""
    about, names = comparison.about, comparison.names
    lead = f"{len(names)} autoencoders on {len(comparison.runs[0].x):,} items of the {about['against']}."
    rows = [[_cell(row, i) for i in range(-1, len(names) + 1)] for row in comparison.rows]
    table = page.table(["metric", *names, "floor"], rows, numbers=range(1, len(names) + 2))
    return page.page(
        f"Comparison of {', '.join(names)}",
        lead,
        [
            page.section(
                "The same items", page.image(picture(comparison), "Items, and what each run makes of them.", "")
            ),
            page.section("Numbers", table, note=f"{wording.FLOOR} {FLOOR} Bold is best."),
            page.section("Rate and distortion", *_curves(comparison)),
            page.section("Take care", *[f'<p class="note">{escape(why)}.</p>' for why in comparison.warnings]),
            page.section("Make it again", page.code(str(about["command"]))),
        ],
    )


def _cell(row: Row, i: int) -> str:
    """The title (-1), a run's value, or behind them the floor."""
    if i < 0:
        return escape(row.title)
    if i == len(row.values):
        return _said(row.floor)
    return f"<b>{_said(row.values[i])}</b>" if i in row.best else _said(row.values[i])


def _curves(comparison: ReconstructionComparison) -> list[str]:
    """One curve a run that has a prior."""
    known = [(name, run.curve) for name, run in zip(comparison.names, comparison.runs, strict=True) if run.curve]
    if not known:
        return []
    lines = [
        Line(name, each.bits, each.psnr, COLOURS[i % len(COLOURS)], dots=True) for i, (name, each) in enumerate(known)
    ]
    caption = "From the prior, of no bits, to the posterior: what each further bit of latents is worth."
    return [page.drawing(charts.chart(lines, "rate, bits an item", "PSNR, dB"), caption)]


def _said(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
