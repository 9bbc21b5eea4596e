"""One HTML page with everything inside it: no request leaves the file."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from PIL import Image

from undiffuse.pictures import png

GRADES = ("good", "fair", "poor")


@dataclass(frozen=True)
class Card:
    """A headline number: what it is, its value, what to hold it against, and a grade of GRADES or none."""

    label: str
    value: str
    why: str
    grade: str = ""


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """The whole document from its parts, each a piece of HTML; title and lead are plain text."""
    style = files("undiffuse.reports").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="soft">{escape(lead)}</p>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *inside: str, note: str = "") -> str:
    """A heading, a line of explanation and what follows; nothing if there is nothing to follow."""
    if not any(inside):
        return ""
    explained = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{explained}{''.join(inside)}\n</section>"


def cards(shown: Sequence[Card]) -> str:
    """The headline numbers side by side."""
    one = '<div class="card"><span class="label">{}</span><b class="{}">{}</b><span class="why">{}</span></div>'
    return (
        '<div class="cards">'
        + "".join(one.format(escape(c.label), c.grade, escape(c.value), escape(c.why)) for c in shown)
        + "</div>"
    )


def image(shown: Image.Image, caption: str, alt: str) -> str:
    """A picture, kept inside the page."""
    data = base64.b64encode(png(shown)).decode("ascii")
    source = f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'
    return f"<figure>{source}<figcaption>{escape(caption)}</figcaption></figure>"


def drawing(svg: str, caption: str) -> str:
    """A chart of charts.chart with its caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table of HTML cells; the columns in `numbers` are set flush right."""
    right = set(numbers)
    look = [' class="number"' if i in right else "" for i in range(len(heads))]
    top = "".join(f"<th{look[i]}>{escape(head)}</th>" for i, head in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{look[i]}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def texts(each: Sequence[str], heads: Sequence[str] = ()) -> str:
    """Texts below each other, as they are; heads: a word beside each."""
    names = heads or [str(i) for i in range(len(each))]
    rows = [[escape(head), f"<code>{escape(text)}</code>"] for head, text in zip(names, each, strict=True)]
    return table(["", "text"], rows)


def code(text: str) -> str:
    """Text to copy."""
    return f"<pre>{escape(text.strip())}</pre>"


def folded(summary: str, inside: str) -> str:
    """Something that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def side_by_side(*parts: str) -> str:
    """Sections next to each other where the window is wide enough."""
    return f'<div class="two">{"".join(parts)}</div>'
