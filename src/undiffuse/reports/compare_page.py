"""The comparison on one page and in one picture: the same seeds side by side, the numbers below."""

from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from undiffuse import pictures
from undiffuse.evaluation import wording
from undiffuse.evaluation.compare import Compared, Comparison, best
from undiffuse.reports import page
from undiffuse.sampling.file_content import sheet
from undiffuse.storage.files import write_bytes, write_json

SHOWN, POINTS = 10, 1000  # samples of each run
FILES = ("compare.html", "compare.png", "compare.json")
COSTS = {"step": "training steps", "parameters": "parameters", "network_calls": "network calls a sample"}


def save(comparison: Comparison, folder: Path) -> list[str]:
    """Write FILES; returns their names."""
    write_bytes(folder / FILES[0], text(comparison).encode())
    write_bytes(folder / FILES[1], pictures.png(picture(comparison)))
    write_json(folder / FILES[2], comparison.content())
    return list(FILES)


def row(comparison: Comparison, run: Compared) -> Image.Image:
    """The first samples of one run: images next to each other, texts and tokens below; points beside real ones.

    Axes and greys are those of all runs.
    """
    x = run.drawn.x
    if run.drawn.are_points:
        real, like = comparison.real.held_out.x[:POINTS], [each.drawn.x[:POINTS] for each in comparison.runs]
        names, categories = run.drawn.columns, run.drawn.categories
        return pictures.overview(x[:POINTS], beside=real, names=names, categories=categories, like=like)
    if x.ndim == 2:
        return sheet(run.drawn.some(slice(SHOWN)))
    span = pictures.shared_span([each.drawn.x[:SHOWN] for each in comparison.runs])
    return pictures.grid(pictures.as_images(x[:SHOWN], span), columns=SHOWN)


def picture(comparison: Comparison) -> Image.Image:
    """The rows of all runs below each other, each under its name; equal columns have equal seeds."""
    font, margin, line = ImageFont.load_default(16), 8, 30
    rows = [row(comparison, run) for run in comparison.runs]
    width = max(each.width for each in rows) + 2 * margin
    sheet = Image.new("RGB", (width, sum(each.height + line for each in rows) + margin), "white")
    pen, top = ImageDraw.Draw(sheet), 0
    for run, each in zip(comparison.runs, rows, strict=True):
        pen.text((margin, top + 7), run.name, fill="#1b1f24", font=font)
        sheet.paste(each.convert("RGB"), (margin, top + line))
        top += each.height + line
    return sheet


def text(comparison: Comparison) -> str:
    """The page; nothing on it leaves the file."""
    runs, about = comparison.runs, comparison.about
    lead = (
        f"{len(runs)} runs, {about['count']:,} samples each of seed {about['seed']}, judged against "
        f"{about['against']} ({len(comparison.real.held_out):,} items)."
        f"{wording.seen_in(about, comparison.real.train.vocabulary)}"
    )
    careful = [f'<p class="note">{escape(warning)}.</p>' for warning in comparison.warnings]
    shown = "".join(_shown(comparison, run) for run in runs)
    place = "row" if runs[0].drawn.texts else "column"
    note = f"The same {place} is the same seed and the same class: what differs is the model."
    alike = runs[0].drawn.x.ndim > 2 or bool(runs[0].drawn.texts)
    return page.page(
        f"Comparison of {', '.join(run.name for run in runs)}",
        lead,
        [
            page.section("Same seeds, side by side", shown, note=note if alike else ""),
            page.section("Numbers", _numbers(comparison), note=f"{wording.FLOOR} Bold is best."),
            page.section("Costs", _costs(comparison)),
            page.section("Take care", *careful),
            page.section("Make it again", page.code(str(about["command"]))),
        ],
    )


def _shown(comparison: Comparison, run: Compared) -> str:
    if run.drawn.texts:
        return f"<p>{escape(run.name)}: {escape(str(run.path))}</p>" + page.texts(run.drawn.texts[:SHOWN])
    return page.image(row(comparison, run), f"{run.name}: {run.path}", f"samples of {run.name}")


def _numbers(comparison: Comparison) -> str:
    runs = comparison.runs
    verdicts = [run.judged.verdicts for run in runs]
    rows = []
    for name in comparison.names:
        leading = best(verdicts, name)
        cells = []
        for i, each in enumerate(verdicts):
            value = (
                f'<span class="{wording.grade(name, each[name])}">{wording.number(name, each[name]["value"])}</span>'
            )
            cells.append(f"<b>{value}</b>" if i in leading else value)
        first = verdicts[0][name]
        said = f"{escape(wording.title(name, first))}<small>{escape(wording.word(name).says)}</small>"
        rows.append([said, *cells, wording.number(name, first["floor"]), first["better"], f"{first['count']:,}"])
    if found := comparison.likelihoods:
        title, values, baseline = found
        cells = [f"<b>{value:.4f}</b>" if value == min(values) else f"{value:.4f}" for value in values]
        beside = "" if baseline is None else f"by counting alone {baseline:.4f}"
        rows.append([f"{escape(title)}<small>{beside}</small>", *cells, "-", "lower", comparison.scored])
    heads = ["metric", *(run.name for run in runs), "floor", "better", "items a side"]
    numbers = (*range(1, len(runs) + 2), len(runs) + 3)
    return page.table(heads, rows, numbers=numbers)


def _costs(comparison: Comparison) -> str:
    runs = comparison.runs
    rows = [[escape(said), *(f"{run.costs[key]:,.4g}" if key == "network_calls" else f"{run.costs[key]:,}" for run in runs)] for key, said in COSTS.items()]  # fmt: skip # noqa: E501
    rows.append(
        [f"seconds for {comparison.about['count']:,} samples", *(f"{run.costs['seconds']:.3g}" for run in runs)]
    )
    return page.table(["", *(run.name for run in runs)], rows, numbers=range(1, len(runs) + 1))
