"""What a .tar file holds: samples, each of which is the files that share a name, wherever they lie in the file."""

import logging
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from undiffuse.core.errors import Refused
from undiffuse.data.images.decode import ENDINGS
from undiffuse.progress import progress_bar

GZIP = b"\x1f\x8b"
DIGIT = re.compile(r"\d")


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


@dataclass(frozen=True)
class Sample:
    """An image with its label (.cls) and facts (.json), or what has no image; endings: those of all its files."""

    name: str
    archive: Path
    image: Place | None = None
    label: Place | None = None
    facts: Place | None = None
    endings: tuple[str, ...] = ()


def samples_of(archive: Path) -> list[Sample]:
    """The samples of an archive, by the first place of each.

    Files whose names are equal up to the first dot are one sample, in whatever order they lie: 1.png, 1.cls. A dot
    inside a name is part of it where numbers behind it tell images apart: photo_1.00.png and photo_1.01.png are two. Of
    1.png and 1.mask.png the image is the first. Raises Refused for a sample with several images of which none is the
    plain one, for a file that is there twice, and for an archive that is none, is packed, cut short or damaged.
    """
    files = _members(archive)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in files:
        groups[_cut(name)[0]].append(name)
    kinds = Counter(kind for names in groups.values() for kind in {_kind(name) for name in names if _is_image(name)})
    found = [sample for key, names in groups.items() for sample in _samples(archive, key, names, files, kinds)]
    taken = {sample.name for sample in found}
    if beside := [name for name in files if _is_image(name) and _stem(name) not in taken]:
        logging.getLogger("undiffuse").warning(
            "%s: %d images stand beside those of their samples, such as %s; left out", archive, len(beside), beside[0]
        )
    return found


def _samples(
    archive: Path, key: str, names: list[str], files: Mapping[str, Place], kinds: Mapping[str, int]
) -> list[Sample]:
    """The sample of these files, or those whose names differ behind a dot; kinds: how many samples have each word
    between a name and an image's ending.
    """
    images = [name for name in names if _is_image(name)]
    images = [name for name in images if not any(_beside(_stem(name), _stem(other)) for other in images)]
    if len(images) <= 1:
        image = next(iter(images), "")
        return [_sample(archive, _stem(image) or key, image, (_stem(image), key), names, files)]
    notes = any(f"{key}{ending}" in map(_lower, names) for ending in (".cls", ".json"))
    words = [_kind(name) for name in images]
    apart = all(word == "" or _counts(word) or (kinds[word] == 1 and DIGIT.search(word)) for word in words)
    if not apart or (notes and "" not in words) or len({_stem(name) for name in images}) < len(images):
        raise Refused(
            f"{archive}: the sample {key} has several images, {', '.join(sorted(images)[:4])}: one is needed, called "
            f"{key}.png or the like"
        )
    return [_sample(archive, _stem(name), name, (_stem(name),), names, files) for name in images]


def _sample(
    archive: Path, name: str, image: str, stems: tuple[str, ...], names: list[str], files: Mapping[str, Place]
) -> Sample:
    """The image with the notes that are called as it is."""
    by_name = {_lower(name): files[name] for name in names}

    def note(ending: str) -> Place | None:
        return next((by_name[stem + ending] for stem in stems if stem + ending in by_name), None)

    endings = tuple(sorted({_cut(name)[1] for name in names}))
    return Sample(name, archive, files.get(image), note(".cls"), note(".json"), endings)


def _members(archive: Path) -> dict[str, Place]:
    """The files of an archive by name, in its order; a hard link is the file that it is another name of."""
    files: dict[str, Place] = {}
    others: list[str] = []
    try:
        with archive.open("rb") as start:
            if start.read(2) == GZIP:
                there = quote(str(archive))
                raise Refused(
                    f"{archive} is packed, and shards are read where they lie: unpack it once, by "
                    f"`mv {there} {there}.gz && gunzip {there}.gz`"
                )
        with tarfile.open(archive, "r:") as tar:
            for member in progress_bar(tar, desc=f"looking at {archive.name}", unit="file", delay=2, leave=False):
                name = member.name.removeprefix("./")
                parts = name.split("/")
                if member.isdir() or parts[-1].startswith(".") or "__MACOSX" in parts:
                    continue
                if member.isreg() and member.sparse is None:
                    place: Place | None = Place(archive, member.offset_data, member.size)
                else:
                    place = files.get(member.linkname.removeprefix("./")) if member.islnk() else None
                if place is None:
                    others.append(name)
                elif name in files:
                    raise Refused(f"{archive} holds {name} twice: each file needs a name of its own")
                else:
                    files[name] = place
            _refuse_cut(archive, tar.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"{archive} is no .tar file, is packed, cut short or damaged ({error})") from None
    if images := list(filter(_is_image, others)):
        logging.getLogger("undiffuse").warning(
            "%s: %d links and other special files are left out, such as %s", archive, len(images), images[0]
        )
    return files


def _refuse_cut(archive: Path, offset: int) -> None:
    """Raises Refused unless zeros, and nothing else, end the archive behind its last file."""
    size, zeros = archive.stat().st_size, True
    with archive.open("rb") as file:
        file.seek(offset)
        while zeros and (block := file.read(2**20)):
            zeros = not block.strip(b"\0")
    if size < offset or not zeros:
        raise Refused(f"{archive} is cut short or damaged at byte {offset}")
    if size == offset:
        raise Refused(
            f"{archive} is cut short: it ends with a file at byte {offset}, without the zeros that end an archive"
        )


def _lower(name: str) -> str:
    """The name with a small ending."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{ending.lower()}"


def _cut(name: str) -> tuple[str, str]:
    """A file's path up to the first dot of its name, and the rest in small letters."""
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    return folder + slash + stem, (dot + ending).lower()


def _is_image(name: str) -> bool:
    return name.lower().endswith(ENDINGS)


def _stem(name: str) -> str:
    """An image's path without its ending."""
    return name.rpartition(".")[0]


def _kind(name: str) -> str:
    """What stands between the first dot of an image's name and its ending: "mask" of 1.mask.png, mostly nothing."""
    return _stem(name)[len(_cut(name)[0]) + 1 :]


def _counts(word: str) -> bool:
    """Whether a word is a number, which tells items apart, and not what an image shows."""
    return word.replace(".", "").isdigit()


def _beside(stem: str, other: str) -> bool:
    """Whether an image shows something else of the same sample, as 1.mask does of 1."""
    return stem.startswith(f"{other}.") and not _counts(stem[len(other) + 1 :])
