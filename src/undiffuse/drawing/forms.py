"""The files that samples can become."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.core.errors import Refused
from undiffuse.drawing import content, places

if TYPE_CHECKING:
    from undiffuse.drawing.draw import Drawn

POINTS = 1000  # fewer show no shape


class Form(StrEnum):
    """Samples as one picture, as a folder of pictures, as arrays, as a table of numbers; texts as lines or objects."""

    GRID = "grid"
    PNG = "png"
    NPZ = "npz"
    CSV = "csv"
    TXT = "txt"
    JSONL = "jsonl"


class Film(StrEnum):
    """The way to the samples as one picture, or animated."""

    STRIP = "strip"
    GIF = "gif"


@dataclass(frozen=True)
class Writer:
    """How one form is written.

    name: of the file (with a suffix) or the folder (without), where none is asked for. usual: how many samples, where
    it is not said. make: the file's bytes; a folder's many files come by name. fits: raises Refused for samples of a
    shape, in a dtype, that have no such form. moves: it needs the states on the way.
    """

    name: str
    usual: int
    make: "Callable[[Drawn], bytes | dict[str, bytes]]"
    fits: Callable[[tuple[int, ...], str], None] = lambda shape, dtype: None
    moves: bool = False

    def place(self, asked: Path | None, home: Path) -> Path:
        """Where it will be written; raises Refused now rather than after the work."""
        return (places.file if Path(self.name).suffix else places.folder)(asked, home, self.name)

    def count(self, points: bool) -> int:
        """How many samples, where it is not said."""
        return POINTS if points else self.usual

    def write(self, drawn: "Drawn", target: Path) -> None:
        """Write the samples, each file whole or not at all."""
        from undiffuse.pictures import write

        made = self.make(drawn)
        files = {target / name: data for name, data in made.items()} if isinstance(made, dict) else {target: made}
        for path, data in files.items():
            write(path, data)


def choose(
    form: Form | None, film: Film | None, out: Path | None, table: bool = False, text: bool | None = None
) -> Writer:
    """The writer that is asked for, by name or by the suffix of `out`; raises Refused for a form and a film at once.

    table: whether the samples have columns with names, so that they become a .csv unless something else is asked for;
    text: whether they read, so that they become a .txt; None: it is not known yet. Raises Refused for lines of what
    does not read.
    """
    if film and form:
        raise Refused(f"--trajectory {film} and --format {form} are different files; ask for one of them")
    if film:
        return FILMS[film]
    by_suffix = {f".{each}": each for each in (Form.NPZ, Form.CSV, Form.TXT, Form.JSONL)} | {".png": Form.GRID}
    suffix = out.suffix.lower() if out else ""
    chosen = form or by_suffix.get(suffix, Form.TXT if text else Form.CSV if table else Form.GRID)
    if chosen in (Form.TXT, Form.JSONL) and text is False:
        raise Refused(f"the run's samples are no text, and --format {chosen} is for texts; {content.NPZ}")
    return FORMS[chosen]


FORMS = {
    Form.GRID: Writer("samples.png", 100, content.picture),
    Form.PNG: Writer("samples", 100, content.files, content.fits_files),
    Form.NPZ: Writer("samples.npz", 100, content.arrays),
    Form.CSV: Writer("samples.csv", 100, content.table, content.fits_table),
    Form.TXT: Writer("samples.txt", 10, content.lines),
    Form.JSONL: Writer("samples.jsonl", 100, content.objects),
}
FILMS = {
    Film.STRIP: Writer("trajectory.png", 10, content.strip, moves=True),
    Film.GIF: Writer("trajectory.gif", 100, content.gif, moves=True),
}
