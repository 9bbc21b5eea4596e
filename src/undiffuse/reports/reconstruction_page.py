"""The report about an autoencoder: originals, reconstructions and differences, beside the numbers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from undiffuse import pictures
from undiffuse.evaluation import wording
from undiffuse.evaluation.number_table import number_table
from undiffuse.evaluation.reconstruction import Reconstructed
from undiffuse.evaluation.record import EVALUATION, history
from undiffuse.pictures import png
from undiffuse.reports import charts, files, page, report_curves
from undiffuse.reports.charts import Line
from undiffuse.reports.latent_pictures import manifold, traversal
from undiffuse.reports.report import commands
from undiffuse.sampling.evaluation_request import Evaluated
from undiffuse.sampling.file_content import sheet
from undiffuse.storage.files import write_bytes, write_json

COLUMNS, ROWS, SAMPLES, POINTS = 10, 4, 100, 1000
CAPTIONS = {
    files.RECONSTRUCTIONS: "Held-out items, what the mode of their latents decodes to, and how far the two are apart.",
    files.PRIOR: "Latents from the prior, decoded. Not chosen: the first ones of the seed.",
    files.MANIFOLD: "The plane of the two latents: decoded at the quantiles of the prior along each axis.",
    files.TRAVERSAL: "One held-out item, one latent at a time moved from -2.5 to 2.5; those with the most bits first.",
}
TITLES = {
    files.RECONSTRUCTIONS: "Reconstructions", files.PRIOR: "Samples from the prior",
    files.MANIFOLD: "The latent plane", files.TRAVERSAL: "One latent at a time",
}  # fmt: skip


@dataclass(frozen=True)
class ReconstructionReport(Evaluated):
    """What is written and shown of the evaluation of an autoencoder."""

    found: Reconstructed

    def save(self, folder: Path, run: Path) -> list[str]:
        """Write the pictures that there are, the page and evaluation.json; returns their names."""
        drawn = {name: picture for name, make in _PICTURES.items() if (picture := make(self.found)) is not None}
        for name, picture in drawn.items():
            write_bytes(folder / name, png(picture))
        write_bytes(folder / files.REPORT, report(self.found, drawn, run).encode())
        write_json(folder / EVALUATION, self.found.content())
        return [*drawn, files.REPORT, EVALUATION]

    def printed(self) -> Iterator[Any]:
        """One table of all numbers, what the latents are like, and every reason to be careful."""
        table = number_table(("metric", "value", "floor", "ratio", "items a side"))
        for name, verdict in self.found.verdicts.items():
            floor, ratio = wording.number(name, verdict["floor"]), wording.ratio(name, verdict)
            table.add_row(
                wording.title(name, verdict), wording.coloured(name, verdict), floor, ratio, f"{verdict['count']:,}"
            )
        yield table
        yield "\n".join(map(_plain, self.found.lines()))
        yield f"[dim]{wording.FLOOR} Of PSNR and SSIM it is that of as many principal components.[/]"
        for warning in self.found.warnings:
            yield f"[yellow]take care:[/] {_plain(warning)}"


def reconstructions(found: Reconstructed) -> Image.Image:
    """Held-out items above their reconstructions; of images the differences as well."""
    if found.x.ndim == 2:
        return pictures.overview(found.made[:POINTS], beside=found.x[:POINTS])
    count = COLUMNS * ROWS
    return pictures.pairs(found.x[:count], found.made[:count], COLUMNS, difference=found.x.ndim == 4)


def samples(found: Reconstructed) -> Image.Image | None:
    """The first samples from the prior; of points beside held-out ones."""
    if found.drawn is None:
        return None
    if found.x.ndim == 2:
        return pictures.overview(found.drawn.numpy()[:POINTS], beside=found.x[:POINTS])
    return sheet(found.drawn.some(slice(SAMPLES)))


_PICTURES: dict[str, Callable[[Reconstructed], Image.Image | None]] = {
    files.RECONSTRUCTIONS: reconstructions, files.PRIOR: samples, files.MANIFOLD: manifold,
    files.TRAVERSAL: traversal,
}  # fmt: skip


def report(found: Reconstructed, drawn: dict[str, Image.Image], run: Path) -> str:
    """The page's HTML, with these pictures by their names. run: its folder, for the curves of its training."""
    model, about = found.model, found.about
    facts = model.describe()
    lead = (
        f"An autoencoder of {facts['parameters']:,} parameters after {facts.get('step', 0):,} steps on "
        f"{len(found.real.train):,} items of {found.real.train.name}, judged on {len(found.x):,} of the "
        f"{about['against']}."
    )
    shown = [
        page.section(TITLES[name], page.image(picture, CAPTIONS[name], TITLES[name].lower()))
        for name, picture in drawn.items()
    ]
    said = [f"<p>{escape(line)}</p>" for line in found.lines()]
    parts = [
        page.cards([_card(name, verdict) for name, verdict in found.verdicts.items() if name in _HEADLINES]),
        *[f'<p class="note">Take care: {escape(warning)}.</p>' for warning in found.warnings],
        *shown,
        page.section("Numbers beside their floors", _table(found), note=wording.FLOOR),
        page.section("Latents", *said, *_curve(found)),
        page.section("Loss while training", report_curves.losses(history(run))),
        page.section("Make it again", commands(found.about, run)),
        page.section("Recipe", page.folded("the recipe, every choice in it", page.code(model.recipe.to_toml()))),
    ]
    return page.page(f"Report on {run.resolve().name}", lead, parts)


_HEADLINES = ("psnr", "ssim", "reconstruction_frechet", "frechet", "precision", "recall")


def _card(name: str, verdict: dict[str, Any]) -> page.Card:
    value, floor = wording.number(name, verdict["value"]), wording.number(name, verdict["floor"])
    return page.Card(wording.title(name, verdict), value, f"floor: {floor}", wording.grade(name, verdict))


def _table(found: Reconstructed) -> str:
    rows = [
        [
            f"{escape(wording.title(name, verdict))}<small>{escape(wording.word(name).says)}</small>",
            f'<span class="{wording.grade(name, verdict)}">{wording.number(name, verdict["value"])}</span>',
            wording.number(name, verdict["floor"]),
            wording.ratio(name, verdict),
            verdict["better"],
            f"{verdict['count']:,}",
        ]
        for name, verdict in found.verdicts.items()
    ]
    return page.table(["metric", "value", "floor", "ratio", "better", "items a side"], rows, numbers=(1, 2, 3, 5))


def _curve(found: Reconstructed) -> list[str]:
    """Distortion over rate, on the path from the prior to the posterior; nothing without a prior."""
    if found.curve is None:
        return []
    caption = (
        "Latents between the prior (left: no bits) and the posterior (right), on the geometric path between the two: "
        "what each further bit is worth."
    )
    line = Line("PSNR", found.curve.bits, found.curve.psnr, dots=True)
    return [page.drawing(charts.chart([line], "rate, bits an item", "PSNR, dB"), caption)]


def _plain(text: str) -> str:
    """Text that rich prints as it is."""
    from rich.markup import escape as plain

    return plain(text)
