"""Your own images in .tar files, as WebDataset writes them: read where they lie, nothing is unpacked."""

import glob
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.decode import ENDINGS, Images, Limits, known_channels
from undiffuse.data.encoded import dataset
from undiffuse.data.labels import classify
from undiffuse.data.resize import Filter, Fit, Size
from undiffuse.data.room import place
from undiffuse.data.source import Glance, Resized
from undiffuse.progress import progress_bar

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST = 100_000  # shards
FEW = 100  # samples that a glance looks at
NOTE = 2**20  # bytes of a .cls or .json that are read


@dataclass(frozen=True)
class Place:
    """Where a file lies inside an archive."""

    archive: Path
    offset: int
    size: int

    def read(self, most: int = 2**31) -> bytes:
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            return file.read(min(self.size, most))


@dataclass
class Sample:
    """The files that share a name up to its first dot."""

    name: str
    image: Place | None = None
    label: Place | None = None
    facts: Place | None = None


@dataclass(frozen=True)
class Shards(Resized):
    """Images in .tar files: files of one name up to the first dot are one sample, its image by the ending.

    path: a .tar, a folder of them, or a pattern such as data-{000..012}.tar or data-*.tar. The label comes from
    a .cls (a number or a word) or from "label" in a .json, if every sample has one; labels = "none": it is not read.
    All else: as of `folder`.
    """

    path: str
    size: Size = None
    channels: int | None = None
    labels: str = "inside"
    fit: Fit = "crop"
    filter: Filter = "bicubic"
    crop: int = 0
    most_pixels: int = 50_000_000
    most_side: int = 32_768
    skip_broken: bool = False

    def __post_init__(self) -> None:
        _ = self.resize
        known_channels(self.channels)
        if self.labels not in ("inside", "none"):
            raise Refused(f"labels = {self.labels!r}: write inside (the .cls or .json of each image) or none")

    def load(self) -> Dataset:
        """All images, decoded; raises Refused, naming them, for whatever makes some unusable."""
        archives = self._archives()
        samples = [sample for archive in archives for sample in _samples(archive)]
        samples = self._with_images(samples)
        values = [] if self.labels == "none" else _labels(samples, self.path)
        labels, classes = classify(values, f"{self.path}: label") if values else (None, ())
        return dataset(self, self._images(samples), labels, classes, place(self, archives), archives[0].stem)

    def glance(self) -> Glance:
        """The shape that the first image comes to, and whether it has a label."""
        first = self._with_images(list(islice(_samples(self._archives()[0]), FEW)))
        labelled = self.labels != "none" and bool(_labels(first, self.path))
        return Glance(self._images(first).glance(self.channels, self.resize), labelled)

    def _images(self, samples: list[Sample]) -> Images:
        places = [sample.image for sample in samples if sample.image]
        limits = Limits(self.most_pixels, self.most_side)
        return Images([sample.name for sample in samples], partial(_content, places), self.path, limits)

    def _with_images(self, samples: list[Sample]) -> list[Sample]:
        found = [sample for sample in samples if sample.image]
        if not found:
            example = f", such as {samples[0].name}" if samples else ""
            raise Refused(f"no images in {self.path}: {len(samples)} samples{example}; read are {' '.join(ENDINGS)}")
        return found

    def _archives(self) -> list[Path]:
        root = Path(self.path)
        if root.is_dir():
            found = sorted(root.glob("*.tar"))
        elif braces := BRACES.search(self.path):
            first, last = int(braces[1]), int(braces[2])
            if not 0 <= last - first < MOST:
                raise Refused(f"{self.path}: {braces[0]} counts up, by less than {MOST}")
            names = [f"{i:0{len(braces[1])}d}" for i in range(first, last + 1)]
            found = [Path(self.path[: braces.start()] + name + self.path[braces.end() :]) for name in names]
        else:
            found = [root] if root.exists() else sorted(Path(name) for name in glob.glob(self.path))
        missing = next((path for path in found if not path.is_file()), None)
        if missing or not found:
            raise Refused(f"there is no file {missing or self.path}; shards are .tar files")
        return found


def _samples(archive: Path) -> Iterator[Sample]:
    """The samples of an archive in its order; raises Refused if it is no archive, or is cut short."""
    now = Sample("")
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in progress_bar(tar, desc=f"looking at {archive.name}", unit="file", delay=2, leave=False):
                if not member.isreg() or member.sparse is not None:  # links and devices are no images
                    continue
                folder, _, file = member.name.rpartition("/")
                stem, _, ending = file.partition(".")
                name = f"{folder}/{stem}" if folder else stem
                if not stem or stem.startswith("__MACOSX"):
                    continue
                if name != now.name:
                    if now.name:
                        yield now
                    now = Sample(name)
                _put(now, f".{ending.lower()}", Place(archive, member.offset_data, member.size))
            _refuse_cut(archive, tar.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{archive} is no .tar file, is packed, cut short or damaged ({error})") from None
    if now.name:
        yield now


def _put(sample: Sample, ending: str, there: Place) -> None:
    if ending.endswith(ENDINGS):
        sample.image = sample.image or there
    elif ending == ".cls":
        sample.label = there
    elif ending == ".json":
        sample.facts = there


def _refuse_cut(archive: Path, offset: int) -> None:
    """Raises Refused unless the archive ends where its last file ends: with zeros, or with nothing."""
    with archive.open("rb") as file:
        file.seek(offset)
        after = file.read(512)
    if after.strip(b"\0") or archive.stat().st_size < offset:
        raise Refused(f"{archive} is cut short or damaged at byte {offset}")


def _labels(samples: list[Sample], where: str) -> list[str]:
    """The label of each sample; nothing if no sample has one. Raises Refused if some have one."""
    values = [_label(sample) for sample in samples]
    missing = [sample.name for sample, value in zip(samples, values, strict=True) if not value]
    if len(missing) == len(samples):
        return []
    if missing:
        raise Refused(
            f"{where} has no label for {len(missing)} of {len(samples)} images, such as {missing[0]}; "
            "--set data.labels=none reads none"
        )
    return values


def _label(sample: Sample) -> str:
    if sample.label:
        return sample.label.read(NOTE).decode("utf-8", "replace").strip()
    if not sample.facts:
        return ""
    try:
        facts = json.loads(sample.facts.read(NOTE))
    except (ValueError, RecursionError):
        return ""
    label = facts.get("label") if isinstance(facts, dict) else None
    return str(label) if isinstance(label, str | int) else ""


def _content(places: list[Place], i: int) -> bytes:
    return places[i].read()
