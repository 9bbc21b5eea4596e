"""Texts to a picture: each on lines of its own, in letters of one width."""

from collections.abc import Sequence
from textwrap import wrap

from PIL import Image, ImageDraw

from undiffuse.pictures.letters import MONO, font

SIZE, WIDE, GAP, MARGIN = 13, 96, 7, 12  # pixels of a letter, letters of a line, pixels between texts and around them
MOST = 12  # lines of one text
INK, PALE, RULE = (15, 23, 42), (100, 116, 139), (226, 232, 240)


def page(texts: Sequence[str], heads: Sequence[str] = ()) -> Image.Image:
    """The texts below each other, a line between; heads: a word in front of each, paler."""
    mono = font(SIZE, MONO)
    letter, line = mono.getlength("m"), SIZE + 4
    indent = max((len(head) for head in heads), default=0)
    indent += 2 if indent else 0
    blocks = [_lines(text) for text in texts]
    wide = indent + max(len(row) for rows in blocks for row in rows)
    high = sum(len(rows) * line + GAP for rows in blocks)
    sheet = Image.new("RGB", (round(2 * MARGIN + wide * letter), 2 * MARGIN + high - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for i, rows in enumerate(blocks):
        if i:
            draw.line([(MARGIN, y - GAP // 2 - 1), (sheet.width - MARGIN, y - GAP // 2 - 1)], fill=RULE)
        if heads:
            draw.text((MARGIN, y), heads[i], fill=PALE, font=mono)
        for row in rows:
            draw.text((MARGIN + indent * letter, y), row, fill=INK, font=mono)
            y += line
        y += GAP
    return sheet


def _lines(text: str) -> list[str]:
    """The text's own lines, folded where they are long."""
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    rows = [row for part in shown.split("\n") for row in wrap(part, WIDE, drop_whitespace=False) or [""]]
    return rows if len(rows) <= MOST else [*rows[: MOST - 1], "..."]
