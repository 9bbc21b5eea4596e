"""The files that samples can become."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.core.errors import Refused
from undiffuse.sampling import file_content, video_content
from undiffuse.storage import output_paths

if TYPE_CHECKING:
    from undiffuse.sampling.samples import Samples

POINTS = 1000  # fewer show no shape
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Form(StrEnum):
    """Samples as one picture, as a folder of pictures, as arrays, as a table of numbers; texts as lines or objects;
    sounds in one file, or in a folder; videos in one, or in a folder; a scene as a mesh.
    """

    GRID = "grid"
    PNG = "png"
    NPZ = "npz"
    NPY = "npy"
    CSV = "csv"
    TXT = "txt"
    JSONL = "jsonl"
    WAV = "wav"
    WAVS = "wavs"
    GIF = "gif"
    GIFS = "gifs"
    MP4 = "mp4"
    OBJ = "obj"
    PLY = "ply"


class Film(StrEnum):
    """The way to the samples as one picture, or animated."""

    STRIP = "strip"
    GIF = "gif"


@dataclass(frozen=True)
class Writer:
    """How one form is written.

    name: of the file or the folder, where none is asked for. suffixes: that the file may have; none: it is a folder.
    usual: how many samples, where it is not said. make: the file's bytes, for a suffix; a folder's many files come by
    name. fits: raises Refused for samples of a shape, in a dtype, that have no such form. moves: it needs the states on
    the way. solid: it needs the mesh, or a cloud.
    """

    name: str
    suffixes: tuple[str, ...]
    usual: int
    make: "Callable[[Samples, str], bytes | dict[str, bytes]]"
    fits: Callable[[tuple[int, ...], str], None] = lambda shape, dtype: None
    moves: bool = False
    solid: bool = False

    def place(self, asked: Path | None, home: Path) -> Path:
        """Where it will be written; raises Refused now rather than after the work."""
        if not self.suffixes:
            return output_paths.folder(asked, home, self.name)
        return output_paths.file(asked, home, self.name, self.suffixes)

    def count(self, points: bool) -> int:
        """How many samples, where it is not said."""
        return POINTS if points else self.usual

    def write(self, drawn: "Samples", target: Path) -> None:
        """Write the samples, each file whole or not at all."""
        known = target.suffix.lower() in self.suffixes
        made = self.make(drawn, target.suffix.lower() if known else Path(self.name).suffix)
        files = {target / name: data for name, data in made.items()} if isinstance(made, dict) else {target: made}
        for path, data in files.items():
            output_paths.put(path, data)


def choose(
    form: Form | None,
    film: Film | None,
    out: Path | None,
    table: bool = False,
    text: bool | None = None,
    moves: bool = False,
) -> Writer:
    """The writer that is asked for, by name or by the suffix of `out`.

    table: whether the samples have columns with names, so that they become a .csv unless something else is asked for;
    text: whether they read, so that they become a .txt; None: it is not known yet. moves: whether they are videos, of
    which a .gif is what they show and not their way. Raises Refused for a form and a film
    at once, for a suffix that no form has or that contradicts the one asked for, and for lines of what does not read.
    """
    if film and form:
        raise Refused(f"--trajectory {film} and --format {form} are different files; ask for one of them")
    asked = FILMS[film] if film else FORMS[form] if form else None
    suffix = output_paths.suffix(out)
    if suffix and suffix not in SUFFIXES:
        raise Refused(f"{out}: there are no {suffix} files of samples; there are {', '.join(SUFFIXES)}, or a folder")
    if suffix and asked and suffix not in asked.suffixes:
        option = f"--trajectory {film}" if film else f"--format {form}"
        makes = f"a {' or '.join(asked.suffixes)} file" if asked.suffixes else "a folder of one file an image"
        raise Refused(f"{option} makes {makes}, and {out} is another; leave {option} out, or name the right one")
    usual = FORMS[Form.TXT if text else Form.CSV if table else Form.GRID]
    chosen = asked or (FORMS[Form.GIF] if moves and suffix == ".gif" else SUFFIXES[suffix] if suffix else usual)
    if chosen in (FORMS[Form.TXT], FORMS[Form.JSONL]) and text is False:
        raise Refused(f"the run's samples are no text, and {chosen.suffixes[0]} is for texts; {file_content.NPZ}")
    return chosen


FORMS = {
    Form.GRID: Writer("samples.png", PICTURES, 100, file_content.picture),
    Form.PNG: Writer("samples", (), 100, lambda drawn, _: file_content.files(drawn), file_content.fits_files),
    Form.NPZ: Writer("samples.npz", (".npz",), 100, lambda drawn, _: file_content.arrays(drawn)),
    Form.NPY: Writer("samples.npy", (".npy",), 100, lambda drawn, _: file_content.array(drawn)),
    Form.CSV: Writer(
        "samples.csv", (".csv",), 100, lambda drawn, _: file_content.table(drawn), file_content.fits_table
    ),
    Form.TXT: Writer("samples.txt", (".txt",), 10, lambda drawn, _: file_content.lines(drawn)),
    Form.JSONL: Writer("samples.jsonl", (".jsonl",), 100, lambda drawn, _: file_content.objects(drawn)),
    Form.WAV: Writer(
        "samples.wav", (".wav",), 10, lambda drawn, _: file_content.sound(drawn), file_content.fits_sounds
    ),
    Form.WAVS: Writer("sounds", (), 100, lambda drawn, _: file_content.sounds(drawn), file_content.fits_sounds),
    Form.GIF: Writer("samples.gif", (".gif",), 16, video_content.moving, video_content.fits_moving),
    Form.GIFS: Writer("videos", (), 16, lambda drawn, _: video_content.videos(drawn), video_content.fits_moving),
    Form.MP4: Writer("samples.mp4", (".mp4",), 16, video_content.moving, video_content.fits_moving),
    Form.OBJ: Writer("mesh.obj", (".obj",), 1, lambda drawn, _: file_content.surface(drawn).obj(), solid=True),
    Form.PLY: Writer("mesh.ply", (".ply",), 1, lambda drawn, _: file_content.surface(drawn).ply(), solid=True),
}
FILMS = {
    Film.STRIP: Writer("trajectory.png", PICTURES, 10, file_content.strip, moves=True),
    Film.GIF: Writer("trajectory.gif", (".gif",), 100, lambda drawn, _: file_content.gif(drawn), moves=True),
}
SUFFIXES = {suffix: writer for writer in [*FILMS.values(), *FORMS.values()] for suffix in writer.suffixes} | {
    ".gif": FILMS[Film.GIF]
}  # a picture is one of samples, unless their way is asked for; but only videos move
