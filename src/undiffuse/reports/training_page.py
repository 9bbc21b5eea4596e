"""How a training goes, on one page that needs nothing else: run/training.html."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.evaluation.record import METRICS
from undiffuse.recipes import build, bundled
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.reports import charts, page
from undiffuse.reports.charts import COLOURS, Line, smooth
from undiffuse.reports.verdicts import DISTANCES, Curve, verdicts
from undiffuse.storage.files import read_json, read_text, write_text

FILE = "training.html"
EXPECTED = bundled.BUNDLED / "expected"
LONGEST = 2**30  # bytes of the log
POINTS, LEVELS, PICTURES = 1000, 5, 8  # at most so many of each are shown
PIXELS, SIDE = 2**25, 480  # of a preview that is opened, and of its longer side on the page
DISTANCE = (
    "Samples of the averaged weights, from the same noise every time. Losses of few-step methods have different floors "
    "and cannot be compared; this can."
)
GREENS = ("#8b949e", "#a371f7", "#2f81f7", "#3fb950", "#e4572e")  # levels, early to late


@dataclass
class Story:
    """What the log holds: curves by name, losses against log-SNR by step, and what of it could not be read."""

    curves: dict[str, Curve] = field(default_factory=dict)
    levels: dict[int, Curve] = field(default_factory=dict)
    damaged: int = 0
    spoiled: int | None = None
    trouble: str = ""


def write(run: Path) -> Path:
    """Make the page from a run's log, previews and recipe; returns where it is.

    A log that is missing or damaged gives a page that says so. Raises Refused if the page cannot be written.
    """
    story, recipe = read(run), _recipe(run)
    last = max((steps[-1] for steps, _ in story.curves.values()), default=0)
    planned = build.training(recipe).steps if recipe else 0
    lead = f"Step {last:,}" + (f" of {planned:,}" if planned else "") + _elapsed(story)
    said = [story.trouble] if story.trouble else []
    if story.damaged:
        said.append(f"{story.damaged} lines of {METRICS} are damaged and left out")
    body = [
        *(f'<p class="note">{escape(text)}.</p>' for text in said),
        page.cards(verdicts(story.curves, story.spoiled)) if story.curves else "",
        *(page.section(*_distance(story, name), note=DISTANCE) for name in DISTANCES if name in story.curves),
        page.section("Loss", _losses(story, recipe), note="What held-out data cost matters; the floor is not 0."),
        page.side_by_side(
            page.section("Loss at each noise level", _levels(story)),
            page.section("Gradient norm", _norms(story, recipe)),
        ),
        page.section("Samples over time", _pictures(run), note="The same noise every time, with the averaged weights."),
        page.side_by_side(
            page.section("Learning rate", _plain(story, "lr", "learning rate")),
            page.section("Distance of embeddings", _plain(story, "embedding_gap", "the least, in sigma_0")),
            page.section("Size of embeddings", _plain(story, "embedding_norm", "mean norm")),
            page.section("Accuracy on held-out data", _plain(story, "validation_accuracy", "accuracy")),
            page.section("Items per second", _plain(story, "samples_per_second", "items per second")),
        ),
        page.section("Recipe", page.folded("every choice in it", page.code(recipe.to_toml()))) if recipe else "",
    ]
    write_text(run / FILE, page.page(f"Training of {run.resolve().name}", lead, body))
    return run / FILE


def read(run: Path) -> Story:
    """What a run's log holds, also while the run goes on or after it broke off."""
    story = Story()
    try:
        lines = read_text(run / METRICS, "metrics", LONGEST).splitlines()
    except Refused as error:
        story.trouble = f"there is no log to show: {error}"
        return story
    for line in lines:
        try:
            numbers = json.loads(line)
            step = numbers["step"]
        except (ValueError, KeyError, TypeError, RecursionError):
            step = None
        if not isinstance(step, int) or isinstance(step, bool) or abs(step) > 2**53:
            story.damaged += 1
            continue
        _note(story, step, numbers)
    if not story.curves and not story.trouble:
        story.trouble = "the log is empty: training has not come to its first line"
    return story


def _note(story: Story, step: int, numbers: dict[str, Any]) -> None:
    for name, value in numbers.items():
        if name != "step" and _finite(value):
            steps, values = story.curves.setdefault(name, ([], []))
            steps.append(step)
            values.append(float(value))
    if story.spoiled is None and "loss" in numbers and numbers["loss"] is None:
        story.spoiled = step  # JSON has no NaN: the log writes null
    levels = numbers.get("levels")
    if isinstance(levels, dict):
        where, loss = levels.get("log_snr"), levels.get("loss")
        if isinstance(where, list) and isinstance(loss, list) and len(where) == len(loss) > 1:
            pairs = [(x, y) for x, y in zip(where, loss, strict=True) if _finite(x) and _finite(y)]
            if pairs:
                story.levels[step] = ([x for x, _ in pairs], [y for _, y in pairs])


def _finite(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )


def _recipe(run: Path) -> Recipe | None:
    """The run's recipe, if it has a sound one."""
    try:
        recipe = Recipe.find(run)
        build.training(recipe)
    except Refused:
        return None
    return recipe


def expected(recipe: Recipe | None) -> Curve | None:
    """The validation loss of the shipped recipe that this one is in all but the data's path, where it was measured."""
    for path in sorted(EXPECTED.glob("*.json")) if recipe else []:
        if path.stem not in bundled.names():
            continue
        shipped = resolve(Recipe.find(path.stem))
        if recipe and shipped.difference(resolve(recipe), but=("data.path",)) is None:
            try:
                measured = read_json(path, "expected curve")
                return list(map(int, measured["step"])), list(map(float, measured["validation_loss"]))
            except (Refused, KeyError, TypeError, ValueError):
                return None
    return None


def _elapsed(story: Story) -> str:
    seconds = story.curves.get("seconds", ([], []))[1]
    return f", {seconds[-1] / 60:.1f} minutes of training" if seconds else ""


def _losses(story: Story, recipe: Recipe | None) -> str:
    if "loss" not in story.curves:
        return ""
    steps, loss = _thin(story.curves["loss"])
    lines = [
        Line("", steps, loss, COLOURS[0], faint=True),
        Line("training", steps, smooth(loss, len(loss) // 25), COLOURS[0]),
    ]
    for name, title, colour in (
        ("validation_loss_raw", "held out, raw weights", "#3fb950"),
        ("validation_loss", "held out, averaged weights", COLOURS[1]),
    ):
        if name in story.curves:
            curve = _thin(story.curves[name])
            lines.append(Line(title, *curve, colour, dots=len(curve[0]) < 30))
    shipped = expected(recipe)
    if shipped:
        lines.append(Line("expected, held out", *shipped, COLOURS[2], dashed=True))
    positive = all(value > 0 for line in lines for value in line.y)
    caption = "Training batches are noisy, so the bold line is a running mean."
    if shipped:
        caption += " Dashed: what this recipe gave when it was shipped."
    return page.drawing(charts.chart(lines, "step", "loss", log=positive, width=9.6), caption)


def _levels(story: Story) -> str:
    if not story.levels:
        return ""
    steps = _spread(sorted(story.levels), LEVELS)
    lines = [Line(f"step {step:,}", *story.levels[step], GREENS[-len(steps) :][i]) for i, step in enumerate(steps)]
    positive = all(value > 0 for line in lines for value in line.y)
    return page.drawing(charts.chart(lines, "log-SNR", "loss on held-out data", log=positive), "Left is pure noise.")


def _norms(story: Story, recipe: Recipe | None) -> str:
    if "grad_norm" not in story.curves:
        return ""
    steps, norms = _thin(story.curves["grad_norm"])
    lines = [
        Line("", steps, norms, COLOURS[0], faint=True),
        Line("norm", steps, smooth(norms, len(norms) // 25), COLOURS[0]),
    ]
    clip = build.training(recipe).clip if recipe else 0.0
    caption = "Rising without end: lower train.lr."
    if clip:
        lines.append(Line("train.clip", [steps[0], steps[-1]], [clip, clip], COLOURS[2], dashed=True))
        over = sum(norm > clip for norm in norms) / len(norms)
        caption = f"{100 * over:.0f} % of these steps were clipped. {caption}"
    return page.drawing(charts.chart(lines, "step", "norm", log=all(n > 0 for n in norms)), caption)


def _distance(story: Story, name: str) -> tuple[str, str]:
    """The title and the picture of how far samples are from the ends of fine trajectories."""
    steps, values = _thin(story.curves[name])
    title = name.replace("_", " ").capitalize()
    lines = [Line("", steps, values, COLOURS[0], dots=len(steps) < 30)]
    caption = "Root mean square between samples and the ends of fine trajectories, over the data's standard deviation."
    return title, page.drawing(charts.chart(lines, "step", "distance", log=min(values) > 0, width=9.6), caption)


def _plain(story: Story, name: str, title: str) -> str:
    if name not in story.curves:
        return ""
    return page.drawing(charts.chart([Line(title, *_thin(story.curves[name]))], "step", title), "")


def _pictures(run: Path) -> str:
    folder = run / "previews"
    files = [path for path in sorted(folder.glob("*.png")) if path.is_file()] if folder.is_dir() else []
    shown = [(path, picture) for path in _spread(files, PICTURES) if (picture := _open(path)) is not None]
    figures = [page.image(picture, path.stem.replace("_", " "), f"samples, {path.stem}") for path, picture in shown]
    style = "display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:12px"
    return f'<div style="{style}">{"".join(figures)}</div>' if figures else ""


def _open(path: Path) -> Image.Image | None:
    """A preview, no larger than the page needs; nothing if it is broken or huge."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.width * picture.height > PIXELS:
                return None
            picture.load()
            small = picture.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    small.thumbnail((SIDE, SIDE))
    return small


def _thin(curve: Curve) -> Curve:
    """At most POINTS of a curve's points, evenly spread, the last among them."""
    chosen = _spread(range(len(curve[0])), POINTS)
    return [curve[0][i] for i in chosen], [curve[1][i] for i in chosen]


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]
