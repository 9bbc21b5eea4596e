"""The report about a run that draws samples and has no denoiser: samples, numbers and likelihood on one page."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from undiffuse.evaluation import nll, wording
from undiffuse.evaluation.evaluate import DrawnEvaluation
from undiffuse.evaluation.record import history
from undiffuse.pictures import png
from undiffuse.reports import page, report_curves
from undiffuse.reports.files import REPORT, SAMPLES
from undiffuse.reports.report import commands, copies, headlines, recipe_and_versions, samples_picture, table
from undiffuse.sampling.evaluation_request import Evaluated
from undiffuse.storage.files import write_bytes


@dataclass(frozen=True)
class DrawnReport(Evaluated):
    """What is written and shown of such an evaluation."""

    found: DrawnEvaluation

    def save(self, folder: Path, run: Path) -> list[str]:
        """Write DRAWN, and of images the closest pairs; returns their names."""
        write_bytes(folder / SAMPLES, png(samples_picture(self.found)))
        write_bytes(folder / REPORT, report(self.found, run).encode())
        return [SAMPLES, REPORT, *self.found.save(folder, run)]

    def printed(self) -> Iterator[Any]:
        return self.found.printed()


def report(found: DrawnEvaluation, run: Path) -> str:
    """The page's HTML. run: its folder, for the curves of its training."""
    model, about, facts = found.model, found.about, found.model.describe()
    lead = (
        f"{model.what.capitalize()}, of {facts['parameters']:,} parameters after {facts.get('step', 0):,} steps on "
        f"{len(found.real.train):,} items of {found.real.train.name}, judged with {about['count']:,} samples against "
        f"{len(found.real.held_out):,} held-out items."
    )
    caption = f"Not chosen: the first ones of seed {about['seed']}. {found.drawn.calls:g} network calls a sample."
    said = nll.lines(about["likelihood"]) if "likelihood" in about else []
    parts = [
        page.cards(headlines(found)),
        *[f'<p class="note">Take care: {escape(warning)}.</p>' for warning in found.warnings],
        page.section("Samples", page.image(samples_picture(found), caption, "samples of the model")),
        *([page.section("Likelihood", *(f"<p>{escape(line)}</p>" for line in said))] if said else []),
        page.section("Numbers beside their floors", table(found), note=wording.FLOOR),
        page.section("Does it copy?", copies(found), note="The samples nearest to a training item."),
        page.section("Loss while training", report_curves.losses(history(run))),
        page.section("Make it again", commands(about, run)),
        recipe_and_versions(found),
    ]
    return page.page(f"Report on {run.resolve().name}", lead, parts)
