"""`undiffuse check-data`: what data hold, what is wrong with them, and what training would do."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from undiffuse.cli.terminal import console, count
from undiffuse.core.errors import some
from undiffuse.storage import output_paths
from undiffuse.storage.notes import VIDEO

if TYPE_CHECKING:
    from undiffuse.data.check import Checked

MOST = 20  # columns, channels and classes that are shown


def check_data(
    path: Annotated[
        str,
        Argument(
            metavar="DATA", help="A folder of images, a file of arrays, a table or a text, .tar files, or hf:NAME."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="FIELD=VALUE ...", help="How to read it: --set data.size=32 data.label=species"),
    ] = None,
    out: Annotated[
        Path | None, Option("-o", "--out", help="Where the contact sheet goes. [default: ./NAME-contact.png]")
    ] = None,
    ladder: Annotated[
        bool, Option("--ladder", help="Print a ladder of noise levels for score models, as a recipe's tables.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Look at data before training on it. Shows what there is, what is broken, what training would do, and
    a contact sheet.

    \b
    undiffuse check-data photos --set size=32
    undiffuse check-data flowers.csv --set label=species
    undiffuse check-data scans.npy --set axes=NDHW -o scans.png
    undiffuse check-data digits --ladder

    Exit status 2, with a list of problems, if training would refuse the data.
    """
    from undiffuse.data.check import check, contact_name, noise_ladder

    target = output_paths.file(out, Path(), contact_name(path))
    checked = check(path, settings or ())
    if checked.data is not None:
        from undiffuse.pictures import png
        from undiffuse.reports.contact_sheet import contact
        from undiffuse.storage.files import write_bytes

        write_bytes(target, png(contact(checked.data)))
        checked.facts["contact_sheet"] = str(target)
    levels = noise_ladder(checked) if ladder else None
    if levels is not None:
        checked.facts["ladder"] = asdict(levels)
    if as_json:
        print(json.dumps({**checked.facts, "problems": checked.problems, "warnings": checked.warnings}, indent=1))
    else:
        _print(checked)
        if levels is not None:
            print(levels)
    if checked.problems:
        raise Exit(2)


def _print(checked: "Checked") -> None:
    from rich.markup import escape
    from rich.table import Table

    facts, screen = checked.facts, console()
    if checked.data is not None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, value in _rows(checked).items():
            table.add_row(name, escape(value))
        screen.print(table)
        if facts["channels"]:
            screen.print(_numbers(checked))
        screen.print(f"to train: [bold]{escape(facts['training']['command'])}[/]", soft_wrap=True)
    for warning in checked.warnings:
        screen.print(f"[yellow]take care:[/] {escape(warning)}", soft_wrap=True)
    for problem in checked.problems:
        screen.print(f"[red]problem:[/] {escape(problem)}", soft_wrap=True)


def _rows(checked: "Checked") -> dict[str, str]:
    facts = checked.facts
    shape = " x ".join(map(str, facts["shape"]))
    rows = {
        "data": f"{facts['path']} ({facts['source']})",
        "items": f"{count(facts['count'])} {facts['kind']} of {shape}, {facts['dtype']}",
        "range": f"{_number(facts['low'])} to {_number(facts['high'])}",
    }
    if VIDEO in facts:
        found = facts[VIDEO]
        rows["videos"] = f"{count(found['videos'])}, {found['rate']:g} frames a second in a clip"
    if "categories" in facts:
        each = [f"{name} ({', '.join(of[:5])}{' ...' * (len(of) > 5)})" for name, of in facts["categories"].items()]
        rows["categories"] = some(each, MOST)
    if "unit" in facts:
        rows["text"] = f"{count(facts['tokens'])} {facts['unit']}, {count(facts['vocabulary'])} different symbols"
    if "resized" in facts:
        rows["resized"] = facts["resized"]
    if "classes" in facts:
        listed = [f"{name} ({count(number)})" for name, number in facts["classes"].items()]
        rows["labels"] = f"{len(listed)} classes: {some(listed, MOST)}"
    else:
        rows["labels"] = "none"
    twice = facts["duplicates"]
    if twice["groups"]:
        examples = "; ".join(" = ".join(group) for group in twice["examples"][:3])
        rows["duplicates"] = f"{count(twice['groups'])} groups, {count(twice['items'])} items too many: {examples}"
    else:
        rows["duplicates"] = "none"
    training = facts["training"]
    if "split" in training:
        split = training["split"]
        rows["split"] = f"{count(split['train'])} to train on, {count(split['held_out'])} held out ({split['share']:g})"
    codec = training["codec"]
    reach = f", {codec['low']:.6g} to {codec['high']:.6g} become -1 to 1" if "low" in codec else ""
    rows["codec"] = codec["name"] + reach
    rows["memory"] = facts["storage"]["said"]
    rows["contact sheet"] = facts["contact_sheet"]
    return rows


def _numbers(checked: "Checked") -> object:
    """Mean, deviation and range of each column or channel."""
    from rich.markup import escape
    from rich.table import Table

    channels, dates = checked.facts["channels"], checked.facts.get("table", {}).get("dates", {})
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("column" if checked.facts["kind"] == "points" else "channel")
    for head in ("mean", "std", "low", "high"):
        table.add_column(head, justify="right")
    for channel in channels[:MOST]:
        unit = dates.get(channel["name"], {}).get("unit", "")
        mean, low, high = (_date(channel[key], unit) for key in ("mean", "low", "high"))
        table.add_row(escape(channel["name"]), mean, f"{_number(channel['std'])} {unit}".strip(), low, high)
    if len(channels) > MOST:
        table.add_row(f"and {len(channels) - MOST} more", "", "", "", "")
    return table


def _number(value: float) -> str:
    """Whole numbers in full, others to five digits."""
    return f"{value:.0f}" if abs(value) < 2**53 and value == int(value) else f"{value:.5g}"


def _date(value: float, unit: str) -> str:
    """A number of units since the start of 1970 as a date; a number where there is no unit."""
    if not unit:
        return _number(value)
    from datetime import datetime, timedelta

    found = datetime(1970, 1, 1) + timedelta(**{unit: round(value)})
    return str(found.date() if unit == "days" else found)
