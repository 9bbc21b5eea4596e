"""Your own images: a folder of them, where subfolders are classes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.beside import of_images, refuse_label
from undiffuse.data.dataset import Dataset
from undiffuse.data.decode import ENDINGS, Images, Limits, known_channels
from undiffuse.data.encoded import dataset
from undiffuse.data.labels import classify, of_files
from undiffuse.data.resize import Filter, Fit, Size
from undiffuse.data.room import place
from undiffuse.data.source import Glance, Resized


@dataclass(frozen=True)
class Folder(Resized):
    """All png, jpg, jpeg, webp, bmp, gif and tif images below a folder, sorted by path; hidden files are left out.

    path: if the images lie in subfolders, the first level's names are the classes, sorted; else there are no labels.
    labels: "folders" as said, "none", or a .csv (columns file and label) or .json ({file: label}) that has them.
    size: the side of a square or [height, width]; None: all images must have one size. fit, filter, crop: how they are
    resized, see `Resize`. channels: 1 grey, 3 RGB (transparent pixels on white), 4 RGBA; None: all must have the same.
    conditions: texts of the images, by name: "beside" reads a .txt with each image's name; else the path of a .csv with
    the columns file and the condition's name, or of a .json.
    most_pixels, most_side: an image with more is refused by its header, so that a small file cannot fill the memory.
    skip_broken: go on without the images that cannot be read.
    Cameras' orientation tags are followed; of moving pictures the first frame is taken; 16-bit grey and float images
    stay what they are if all are alike. What does not fit the memory is decoded once, to the cache.
    """

    path: str
    size: Size = None
    channels: int | None = None
    labels: str = "folders"
    fit: Fit = "crop"
    filter: Filter = "bicubic"
    crop: int = 0
    most_pixels: int = 50_000_000
    most_side: int = 32_768
    skip_broken: bool = False
    conditions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self.resize
        refuse_label(self.conditions)
        known_channels(self.channels)

    def load(self) -> Dataset:
        """All images, decoded; raises Refused, naming the files, for whatever makes some unusable."""
        files = self._files()
        values, classes = self._labels(files)
        there = place(self.key, [Path(self.path, file) for file in files])
        found = dataset(self, self._images(files), values, classes, there, Path(self.path).resolve().name)
        texts = of_images(self.conditions, found.names, Path(self.path))
        return replace(found, conditions={**found.conditions, **texts}) if texts else found

    def glance(self) -> Glance:
        """The shape that the first image comes to, and whether the folder says classes."""
        files = self._files()
        shape = self._images(files).glance(self.channels, self.resize)
        return Glance(shape, bool(self._labels(files)[1]))

    def _images(self, files: list[str]) -> Images:
        root, limits = Path(self.path), Limits(self.most_pixels, self.most_side)
        return Images(files, lambda i: root / files[i], self.path, limits)

    def _files(self) -> list[str]:
        """The image files below the folder, relative to it, in an order that no file system changes."""
        root = Path(self.path)
        if not root.is_dir():
            raise Refused(
                f"there is no folder {self.path}" + (" (a file: use data.name=file)" if root.is_file() else "")
            )
        everything = [
            PurePosixPath(Path(folder, name).relative_to(root).as_posix())
            for folder, _, names in os.walk(root)
            for name in names
        ]
        visible = [f for f in everything if not any(part.startswith((".", "__MACOSX")) for part in f.parts)]
        files = sorted(f for f in visible if f.suffix.lower() in ENDINGS)
        if not visible:
            raise Refused(f"the folder {self.path} is empty")
        if not files:
            raise Refused(
                f"no images in {self.path}: {len(visible)} files, such as {min(visible)}; read are {' '.join(ENDINGS)}"
            )
        return [str(file) for file in files]

    def _labels(self, files: list[str]) -> tuple[np.ndarray | None, Sequence[str]]:
        """The class of each file, (count,), and the classes' names; None and no names: there are none."""
        if self.labels == "none":
            return None, ()
        if self.labels == "folders":
            return self._folders([PurePosixPath(file) for file in files])
        if not self.labels.lower().endswith((".csv", ".json")):
            raise Refused(f"labels = {self.labels!r}: write folders, none, or the path of a .csv or .json file")
        return classify(of_files(self.labels, files), self.labels)

    def _folders(self, files: list[PurePosixPath]) -> tuple[np.ndarray | None, Sequence[str]]:
        loose = [file for file in files if len(file.parts) == 1]
        if len(loose) == len(files):
            return None, ()
        if loose:
            raise Refused(
                f"{self.path} has images both loose ({loose[0]}) and in subfolders "
                f"({max(files, key=lambda f: len(f.parts))}); move all into subfolders, one a class, or none, "
                "or give labels=none"
            )
        classes = sorted({file.parts[0] for file in files})
        number = {name: i for i, name in enumerate(classes)}
        return np.array([number[file.parts[0]] for file in files], np.int64), classes
