"""Your own images: a folder of them, where subfolders are classes."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from undiffuse.core.errors import Refused, near, some
from undiffuse.data.condition_files import of_images, refuse_label
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import place
from undiffuse.data.images.decode import ENDINGS, Images, known_channels
from undiffuse.data.images.encoded import dataset
from undiffuse.data.labels import TABLES, by_folder, classify, of_files
from undiffuse.data.source import Encoded, Peek
from undiffuse.data.walk import Walked, ending, walk
from undiffuse.storage.image_file import Pages

TRAIN = "train|training"
SPLIT = re.compile(
    rf"({TRAIN}|val|valid|validation|test|testing|dev|eval|evaluation|hold-?_?out|held-?_?out)"
    r"([-_ ]?(set|split|data|images|imgs|\d+))?",
    re.IGNORECASE,
)
NOTES = ("", ".txt", ".csv", ".tsv", ".json", ".jsonl", ".md", ".xml", ".yaml", ".yml", ".toml", ".html", ".ini", ".db")
CAPTIONS = tuple(f"{name}{end}" for name in ("metadata", "captions") for end in TABLES)  # usual names of their tables
PIP = {".heic": "pillow-heif", ".heif": "pillow-heif", ".hif": "pillow-heif", ".jxl": "pillow-jxl-plugin"}
NAMED = 5  # endings, and folders, that are named


@dataclass(frozen=True)
class Folder(Encoded):
    """All images that Pillow reads below a folder, sorted by path; links are followed, hidden files are left out.

    path: if the images lie in subfolders, the first level's names are the classes, sorted; else there are no labels.
    split: where the first level is parts of a data set (train, val, test ...), the classes lie in the second, and the
    part for training is read; else the name of the part, "all", or "none": they are classes after all.
    labels: "folders" as said, "none", or a table (columns file and label) or .json ({file: label}), see `of_files`.
    size: the side of a square or [height, width]; None: all images must have one size. fit, filter, crop: how they are
    resized, see `Resize`. channels: 1 grey, 3 RGB (transparent pixels on white), 4 RGBA; None: all must have the same.
    conditions: texts of the images, by name: "beside" reads a .txt with each image's name; else the path of a table
    with the columns file and the condition's name, or of a .json, which may hold boxes in COCO's format; or a folder of
    pictures with the images' names, whatever their endings: depth, normals, poses.
    most_pixels, most_side: an image with more is refused by its header, so that a small file cannot fill the memory.
    skip_broken: go on without the images that cannot be read.
    pages: of files with several pages (TIFF, moving pictures) the "first" one, or all: as "items", or as the "frames"
    of one item, (channels, frames, height, width).
    Cameras' orientation tags are followed. 16-bit grey and float images stay what they are if all are alike; where
    channels = 3 or 4, or others, make them 8 bit, their least and greatest level become 0 and 255. What does not fit
    the memory, or takes long, is decoded once, to the cache.
    """

    path: str
    labels: str = "folders"
    conditions: dict[str, str] = field(default_factory=dict)
    split: str = ""
    pages: Pages = "first"

    aliases: ClassVar[tuple[str, ...]] = ("image_folder",)

    def __post_init__(self) -> None:
        _ = self.resize
        refuse_label(self.conditions)
        known_channels(self.channels)

    def load(self) -> Dataset:
        """All images, decoded; raises Refused, naming the files, for whatever makes some unusable."""
        walked = self._walk()
        part, files = self._split(self._images_of(walked))
        values, classes = self._labels(files, part)
        there = place(self.key, [Path(self.path, file) for file in files])
        root = Path(self.path)

        def texts(which: np.ndarray) -> dict[str, np.ndarray]:
            return of_images(self.conditions, [files[i] for i in which], root, self.resize)

        found = dataset(self, self._images(files), values, classes, there, root.resolve().name, texts)
        captions = [] if self.conditions else _captions(walked, files, root)
        remarks = [*_left_out(walked), *self._unread(walked, part), *captions, *found.notes.get("remarks", ())]
        return replace(found, notes={**found.notes, "remarks": remarks}) if remarks else found

    def peek(self) -> Peek:
        """The shape that the first image comes to, and whether the folder says classes."""
        part, files = self._split(self._images_of(self._walk()))
        shape = self._images(files).peek(self.channels, self.resize)
        return Peek(shape, bool(self._labels(files, part)[1]))

    def _images(self, files: list[str]) -> Images:
        root = Path(self.path)
        return Images(files, lambda i: root / files[i], self.path, self.limits, self.pages)

    def _walk(self) -> Walked:
        root = Path(self.path)
        if not root.is_dir():
            raise Refused(
                f"there is no folder {self.path}" + (" (a file: use --set data.name=file)" if root.is_file() else "")
            )
        walked = walk(root)
        if not walked.files:
            raise Refused(f"the folder {self.path} is empty{''.join(f'; {said}' for said in _left_out(walked))}")
        return walked

    def _images_of(self, walked: Walked) -> list[str]:
        """The image files, relative to the folder, in an order that no file system changes."""
        files = [file for file in walked.files if ending(file) in ENDINGS]
        if not files:
            raise Refused(
                f"no images in {self.path}: {len(walked.files)} files, such as {walked.files[0]}; read are "
                + " ".join(ENDINGS)
            )
        return files

    def _split(self, files: list[str]) -> tuple[str, list[str]]:
        """The part of the data set that is read, "" where the folder has none, and its files."""
        tops = {_top(file) for file in files} - {""}
        if self.split in ("none", "all"):
            return self.split.removeprefix("none"), files
        if self.split and self.split not in tops:
            there = f"it has: {', '.join(sorted(tops)) or 'none'}"
            raise Refused(f"{self.path} has no folder {self.split!r}{near(self.split, tops)}; {there}; or say all")
        if not self.split and (not tops or not all(SPLIT.fullmatch(top) for top in tops)):
            return "", files
        chosen = {self.split} if self.split else {top for top in tops if len(tops) == 1 or _trains(top)}
        if len(chosen) != 1:
            raise Refused(
                f"{self.path} has the folders {', '.join(sorted(tops))}, which are parts of a data set: say which one "
                f"is read with --set data.split={min(tops)}, or --set data.split=all; "
                "--set data.split=none: they are classes"
            )
        part = chosen.pop()
        return part, [file for file in files if _top(file) == part]

    def _unread(self, walked: Walked, part: str) -> list[str]:
        """What there is to say of a part that was not asked for by name."""
        if self.split or not part:
            return []
        images = [file for file in walked.files if ending(file) in ENDINGS]
        others = Counter(_top(file) for file in images if _top(file) != part)
        listed = ", ".join(f"{name} ({count:,})" for name, count in sorted(others.items()))
        also = f", and not {listed}: --set data.split=all reads all" if others else ""
        return [f"the part {part!r} of the data set is read{also}; --set data.split=none: the parts are classes"]

    def _labels(self, files: list[str], part: str) -> tuple[np.ndarray | None, Sequence[str]]:
        """The class of each file, (count,), and the classes' names; None and no names: there are none."""
        if self.labels == "none":
            return None, ()
        if self.labels == "folders":
            return by_folder(files, self.path, 1 if part else 0)
        if not self.labels.lower().endswith(TABLES):
            raise Refused(f"labels = {self.labels!r}: write folders, none, or the path of a {' '.join(TABLES)} file")
        return classify(of_files(self.labels, files, root=self.path), self.labels)


def _top(file: str) -> str:
    """The folder of the first level that the file lies in, "" if in none."""
    return file.partition("/")[0] if "/" in file else ""


def _trains(name: str) -> bool:
    return bool(re.match(TRAIN, name, re.IGNORECASE))


def _left_out(walked: Walked) -> list[str]:
    """Which files are no images that can be read, by ending, and which folders were not read."""
    others = Counter(ending(file) for file in walked.files if ending(file) not in (*ENDINGS, *NOTES))
    listed = [f"{count:,} {end}" for end, count in others.most_common()]
    needed = sorted({PIP[end] for end in others if end in PIP})
    advice = f" (pip install {' '.join(needed)} reads them)" if needed else ""
    files = (
        [f"left out, since they are no images that can be read here: {some(listed, NAMED)}{advice}"] if listed else []
    )
    skipped = [f"{name} ({why})" for name, why in walked.skipped.items()]
    return files + ([f"folders that were not read: {some(skipped, NAMED)}"] if skipped else [])


def _captions(walked: Walked, files: Sequence[str], root: Path) -> list[str]:
    """Which texts of the images lie beside them and are not read."""
    there = set(walked.files)
    where = next((root / file for file in walked.files if Path(file).name.lower() in CAPTIONS), None)
    if where is None and not all(f"{os.path.splitext(file)[0]}.txt" in there for file in files):
        return []
    which = shlex.quote(str(where)) if where else "beside"
    learns = f"--set data.conditions.text={which} conditions.text.kind=text conditions.text.drop=0.1"
    return [f"texts lie beside the images and are not read: `undiffuse train` with {learns} learns them"]
