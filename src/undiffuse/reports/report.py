"""The report about a run: pictures beside numbers, on one page that needs nothing else."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from undiffuse import pictures
from undiffuse.evaluation import drift_field, nearest_items, wording
from undiffuse.evaluation.evaluate import DrawnEvaluation, RunEvaluation
from undiffuse.evaluation.record import history
from undiffuse.pictures import png
from undiffuse.recipes.command import command
from undiffuse.reports import page, report_curves
from undiffuse.reports.files import DENOISED
from undiffuse.sampling.evaluation_request import Evaluated
from undiffuse.sampling.file_content import sheet, states, strip
from undiffuse.sampling.guidance import words
from undiffuse.sampling.samples import Samples
from undiffuse.storage.files import write_bytes

ROWS, PER_CLASS, TOGETHER = 20, 10, 100  # pictures of samples: classes shown, samples of each, samples without classes
CAPTIONED = 36  # samples with a caption each
LINES = 40  # of tokens
HEADLINES = (
    *("agreement", "frechet", "sliced_wasserstein", "precision", "recall", "memorisation"),
    *("known_words", "known_ngrams", "copies"),
)


@dataclass(frozen=True)
class Report(Evaluated):
    """What is written and shown of the evaluation of a run that draws samples."""

    found: RunEvaluation

    def save(self, folder: Path, run: Path) -> list[str]:
        return save(self.found, folder, run)

    def printed(self) -> Iterator[Any]:
        yield from self.found.printed()
        if said := words(self.found.drawn.request):
            yield f"samples were drawn with {said}"


def save(evaluation: RunEvaluation, folder: Path, run: Path) -> list[str]:
    """Write DENOISED, and of images the closest pairs; returns the names. run: its folder, for the curves."""
    contents = (png(samples_picture(evaluation)), png(denoising_picture(evaluation)), report(evaluation, run).encode())
    for name, content in zip(DENOISED, contents, strict=False):
        write_bytes(folder / name, content)
    if evaluation.field is not None:
        write_bytes(folder / drift_field.FILE, png(evaluation.field.picture()))
    plane = [drift_field.FILE] if evaluation.field is not None else []
    return [*DENOISED[:-1], *plane, *evaluation.save(folder, run)]


def samples_picture(evaluation: DrawnEvaluation) -> Image.Image:
    """The first samples: one class a row where there are classes; points beside as many held-out ones."""
    drawn = evaluation.drawn
    if drawn.kind == "texts":
        return pictures.page(drawn.texts[:ROWS])
    if drawn.x.ndim == 2:
        x = drawn.x if drawn.are_points else drawn.x[:LINES]
        beside = evaluation.real.held_out.x[: len(x)]
        return pictures.overview(x, beside=np.asarray(beside), names=drawn.columns, categories=drawn.categories)
    return sheet(first(drawn))


def denoising_picture(evaluation: RunEvaluation) -> Image.Image:
    """Some samples from noise to data, left to right."""
    return Image.open(io.BytesIO(strip(evaluation.path)))


def report(evaluation: RunEvaluation, run: Path) -> str:
    """The page's HTML. run: its folder, for the curves of its training."""
    model, real, curves = evaluation.model, evaluation.real, history(run)
    facts = model.describe()
    unit = "tokens" if real.train.vocabulary else "numbers"
    kind = f"{real.train.shape[0]} {unit}" if real.train.x.ndim == 2 else " x ".join(map(str, real.train.shape))
    classes = f", {len(model.classes)} classes" if model.classes else ""
    lead = (
        f"A model of {facts['parameters']:,} parameters after {facts.get('step', 0):,} steps on "
        f"{len(real.train):,} items of {real.train.name} ({kind}{classes}), judged with "
        f"{len(evaluation.items.samples):,} samples against {len(real.held_out):,} held-out items."
    )
    parts = [
        page.cards(headlines(evaluation)),
        *[
            f'<p class="note">Take care: {escape(warning)}.</p>'
            for warning in [evaluation.real.warning, *evaluation.judged.warnings]
            if warning
        ],
        _pictures(evaluation),
        *_plane(evaluation),
        page.section("Numbers beside their floors", table(evaluation), note=wording.FLOOR),
        page.section(
            "Does it copy?",
            copies(evaluation),
            note="The samples nearest to a training item. A model that has learnt by heart makes them equal.",
        ),
        page.side_by_side(
            page.section("Loss while training", report_curves.losses(curves)),
            page.section("Error of the guess at each noise level", report_curves.noise(evaluation)),
        ),
        *report_curves.likelihood(evaluation),
        page.section("Make it again", commands(evaluation.about, run)),
        recipe_and_versions(evaluation),
    ]
    return page.page(f"Report on {run.resolve().name}", lead, parts)


def first(drawn: Samples) -> Samples:
    """The first samples of each class, or of all."""
    own = len(drawn.captions) > 1
    chosen: Sequence[int] | np.ndarray = np.arange(min(CAPTIONED if own else TOGETHER, len(drawn.x)))
    if drawn.labels is not None:
        labels = drawn.labels.numpy()
        members = [np.flatnonzero(labels == label)[:PER_CLASS] for label in range(min(ROWS, len(drawn.classes)))]
        chosen = np.sort(np.concatenate(members))
    return drawn.some(chosen)


def _texts(evaluation: RunEvaluation) -> str:
    """Samples beside held-out text, and the states of the first one from noise on, as text that can be copied."""
    path = states(evaluation.path)
    steps = page.texts([text for _, text in path], [f"step {head}" for head, _ in path])
    return page.side_by_side(
        page.section("Samples", page.texts(evaluation.drawn.texts[:ROWS]), note=_samples_caption(evaluation)),
        page.section("Held-out text", page.texts(evaluation.real.held_out.texts(ROWS))),
    ) + page.section("From noise to text", steps)


def _pictures(evaluation: RunEvaluation) -> str:
    if evaluation.drawn.kind == "texts":
        return _texts(evaluation)
    samples = page.image(samples_picture(evaluation), _samples_caption(evaluation), "samples of the model")
    steps = page.image(denoising_picture(evaluation), _way_caption(evaluation), "from noise to data, step by step")
    both = page.section("Samples", samples), page.section("From noise to data", steps)
    return "".join(both) if evaluation.drawn.x.ndim == 2 else page.side_by_side(*both)


def _samples_caption(evaluation: RunEvaluation) -> str:
    drawn = evaluation.drawn
    if drawn.kind == "texts":
        return f"Not chosen: the first ones of seed {evaluation.about['seed']}. {drawn.calls:g} network calls a sample."
    if drawn.x.ndim == 2:
        return "Held-out data beside samples."
    order = f"One class a row: {', '.join(drawn.classes[:ROWS])}. " if drawn.labels is not None else ""
    cost = f"{drawn.calls:g} network calls a sample"
    return f"{order}Not chosen: the first ones of seed {evaluation.about['seed']}. {cost}."


def _way_caption(evaluation: RunEvaluation) -> str:
    if evaluation.drawn.are_points:
        return (
            "Time runs from left to right. A point keeps the colour of its last height: noise has no order yet. "
            "The last panel shows the ways of some points."
        )
    frames = evaluation.path.frames
    states = 0 if frames is None else len(frames)
    return f"Each row is one sample on its way, from left to right: {min(10, states)} of {states} states."


def headlines(evaluation: DrawnEvaluation) -> list[page.Card]:
    """The numbers that are looked at first."""
    shown = []
    for name in HEADLINES:
        if name in evaluation.verdicts:
            verdict = evaluation.verdicts[name]
            value, floor, ratio = (
                wording.number(name, verdict["value"]),
                wording.number(name, verdict["floor"]),
                wording.ratio(name, verdict),
            )
            why = f"its floor: {value} beside {floor}" if ratio else f"floor: {floor}"
            shown.append(page.Card(wording.title(name, verdict), ratio or value, why, wording.grade(name, verdict)))
    return shown


def _plane(evaluation: RunEvaluation) -> list[str]:
    """The process in the plane, for points of two numbers."""
    if evaluation.field is None:
        return []
    caption = (
        "Data on their way to noise, samples on their way back at the same times, and the mean step back that the "
        "model has learned. Of a panel's arrows the longer three quarters are cut to one length."
    )
    return [page.section("There and back", page.image(evaluation.field.picture(), caption, "process and drift"))]


def table(evaluation: DrawnEvaluation) -> str:
    """All numbers beside their floors."""
    if not evaluation.verdicts:
        return ""
    rows = [
        [
            _described(name, verdict),
            f'<span class="{wording.grade(name, verdict)}">{wording.number(name, verdict["value"])}</span>',
            wording.number(name, verdict["floor"]),
            wording.ratio(name, verdict),
            verdict["better"],
            f"{verdict['count']:,}",
        ]
        for name, verdict in evaluation.verdicts.items()
    ]
    return page.table(["metric", "value", "floor", "ratio", "better", "items a side"], rows, numbers=(1, 2, 3, 5))


def _described(name: str, verdict: Mapping[str, Any]) -> str:
    careful = f'<small class="fair">{escape(verdict["warning"])}</small>' if verdict["warning"] else ""
    more = (*wording.worst(verdict), *wording.beside(name, verdict))
    worst = "".join(f"<small>{escape(each)}</small>" for each in more)
    return f"{escape(wording.title(name, verdict))}<small>{escape(wording.word(name).says)}</small>{worst}{careful}"


def copies(evaluation: DrawnEvaluation) -> str:
    """The samples nearest to training items above their nearest ones, for images."""
    both = nearest_items.picture(evaluation.items, evaluation.verdicts)
    if both is None:
        return ""
    return page.image(
        both, nearest_items.caption(evaluation.verdicts), "samples and the training items nearest to them"
    )


def commands(about: Mapping[str, Any], run: Path) -> str:
    """What makes the model and the report again."""
    train = f"{command()} train {run / 'recipe.toml'} --out {run}-again"
    return page.code("\n".join(["# the model", train, "# this report", str(about["command"])]))


def recipe_and_versions(evaluation: DrawnEvaluation) -> str:
    """The section on what the model is made of."""
    recipe = page.code(evaluation.model.recipe.to_toml())
    return page.section(
        "Recipe and versions", page.folded("the recipe, every choice in it", recipe), versions(evaluation)
    )


def versions(evaluation: DrawnEvaluation) -> str:
    """With which versions it was trained and judged."""
    trained = evaluation.model.facts.get("versions") or evaluation.model.describe()["versions"]
    now = evaluation.about["versions"]
    rows = [
        [escape(name), escape(str(trained.get(name, "-"))), escape(str(now.get(name, "-")))]
        for name in sorted({*trained, *now})
    ]
    return (
        page.table(["", "trained with", "judged with"], rows)
        + f'<p class="note">{escape(str(evaluation.about["date"]))}</p>'
    )
