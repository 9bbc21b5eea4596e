"""Your own images in .tar files, as WebDataset writes them: read where they lie, nothing is unpacked."""

import glob
import json
import logging
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import place
from undiffuse.data.images.decode import ENDINGS, Images, known_channels
from undiffuse.data.images.encoded import dataset
from undiffuse.data.images.tar import Place, Sample, samples_of
from undiffuse.data.labels import classify, word
from undiffuse.data.source import Encoded, Peek

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
PACKED = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz)$", re.IGNORECASE)
MOST = 100_000  # shards
FEW = 100  # samples that a glance looks at
NOTE = 2**20  # bytes of a .cls or .json that are read


@dataclass(frozen=True)
class Shards(Encoded):
    """Images in .tar files: the files of one name are one sample, its image by the ending (see `samples_of`).

    path: a .tar, a folder of them, or a pattern such as data-{000..012}.tar or data-*.tar. The label comes from
    a .cls (a number or a word) or from "label" in a .json, if every sample has one; labels = "none": it is not read.
    All else: as of `folder`.
    """

    path: str
    labels: str = "inside"

    aliases: ClassVar[tuple[str, ...]] = ("tar", "webdataset")

    def __post_init__(self) -> None:
        _ = self.resize
        known_channels(self.channels)
        if self.labels not in ("inside", "none"):
            raise Refused(f"labels = {self.labels!r}: write inside (the .cls or .json of each image) or none")

    def load(self) -> Dataset:
        """All images, decoded; raises Refused, naming them, for whatever makes some unusable."""
        archives = self._archives()
        samples = [sample for archive in archives for sample in samples_of(archive)]
        samples, notes = self._with_images(_named(samples))
        values = [] if self.labels == "none" else _labels(samples, self.path)
        labels, classes = classify(values, f"{self.path}: label") if values else (None, ())
        there = place((self.key, "by name"), archives)
        found = dataset(self, self._images(samples), labels, classes, there, archives[0].stem)
        return replace(found, notes={**found.notes, **notes})

    def peek(self) -> Peek:
        """The shape that the first image comes to, and whether it has a label."""
        first, _ = self._with_images(samples_of(self._archives()[0]))
        labelled = self.labels != "none" and bool(_labels(first[:FEW], self.path))
        return Peek(self._images(first).peek(self.channels, self.resize), labelled)

    def _images(self, samples: list[Sample]) -> Images:
        places = [sample.image for sample in samples if sample.image]
        return Images([sample.name for sample in samples], partial(_content, places), self.path, self.limits)

    def _with_images(self, samples: list[Sample]) -> tuple[list[Sample], dict[str, Any]]:
        """The samples that have an image, and a note that counts the others."""
        found, others = [s for s in samples if s.image], [s for s in samples if not s.image]
        example = f", such as {others[0].name} ({' '.join(others[0].endings) or 'no ending'})" if others else ""
        if not found:
            raise Refused(f"no images in {self.path}: {len(samples)} samples{example}; read are {' '.join(ENDINGS)}")
        if not others:
            return found, {}
        said = f"{len(others)} of {len(samples)} samples have no image that is read{example}"
        logging.getLogger("undiffuse").warning("%s: %s; left out", self.path, said)
        return found, {"without_image": len(others)}

    def _archives(self) -> list[Path]:
        root = Path(self.path)
        if root.is_dir():
            found = sorted(root.glob("*.tar"))
            if packed := sorted(path for path in root.glob("*.t*") if PACKED.search(path.name)):
                raise Refused(_packed(packed[0], len(packed)))
        elif braces := BRACES.search(self.path):
            first, last = int(braces[1]), int(braces[2])
            if not 0 <= last - first < MOST:
                raise Refused(f"{self.path}: {braces[0]} counts up, by less than {MOST}")
            names = [f"{i:0{len(braces[1])}d}" for i in range(first, last + 1)]
            found = [Path(self.path[: braces.start()] + name + self.path[braces.end() :]) for name in names]
        else:
            found = [root] if root.exists() else sorted(Path(name) for name in glob.glob(self.path))
        if found and PACKED.search(found[0].name):
            raise Refused(_packed(found[0]))
        missing = next((path for path in found if not path.is_file()), None)
        if missing or not found:
            raise Refused(f"there is no file {missing or self.path}; shards are .tar files")
        return found


def _packed(path: Path, count: int = 1) -> str:
    which = f"{path} and {count - 1} more are packed" if count > 1 else f"{path} is packed"
    return f"{which}, and shards are read where they lie: unpack each once, as by `{_unpacks(path)}`"


def _unpacks(path: Path) -> str:
    program = {"bz2": "bunzip2", "tbz": "bunzip2", "tbz2": "bunzip2", "xz": "unxz", "txz": "unxz", "zst": "unzstd"}
    return f"{program.get(path.suffix.lstrip('.'), 'gunzip')} {quote(str(path))}"


def _named(samples: list[Sample]) -> list[Sample]:
    """The samples, each with a name of its own: with its archive's, where several archives count alike."""
    names = [sample.name for sample in samples]
    if len(set(names)) == len(names):
        return samples
    return [replace(sample, name=f"{sample.archive}: {sample.name}") for sample in samples]


def _labels(samples: list[Sample], where: str) -> list[str]:
    """The label of each sample; nothing if no sample has one. Raises Refused if some have one."""
    values = [_label(sample, where) for sample in samples]
    missing = [sample.name for sample, value in zip(samples, values, strict=True) if not value]
    if len(missing) == len(samples):
        return []
    if missing:
        raise Refused(
            f"{where} has no label for {len(missing)} of {len(samples)} images, such as {missing[0]}; "
            "--set data.labels=none reads none"
        )
    return values


def _label(sample: Sample, where: str) -> str:
    """What the .cls says, else "label" in the .json; "" for neither. Raises Refused for one that cannot be read."""
    there = sample.label or sample.facts
    try:
        if not there:
            return ""
        text = there.read(NOTE).decode("utf-8")
        if sample.label:
            return word(text)
        facts = json.loads(text)
        label = facts.get("label") if isinstance(facts, dict) else None
        if isinstance(label, list | dict):
            raise ValueError(f"it is {json.dumps(label)[:40]}, and one word or number is needed")
        return word(label, where)
    except (ValueError, RecursionError) as error:
        raise Refused(
            f"{where}: the label of {sample.name} cannot be read ({error}); --set data.labels=none reads none"
        ) from None


def _content(places: list[Place], i: int) -> bytes:
    return places[i].read()
