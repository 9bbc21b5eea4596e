"""Your own point clouds: a folder of files, whose subfolders are classes, or one array."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.cloud_file import read
from undiffuse.data.dataset import Dataset
from undiffuse.data.labels import by_folder
from undiffuse.data.source import Peek, Stored
from undiffuse.data.walk import ending, walk
from undiffuse.progress import progress_bar
from undiffuse.storage.notes import CLOUD

ENDINGS = (".ply", ".npy", ".xyz", ".csv", ".txt")


@dataclass(frozen=True)
class PointClouds(Stored):
    """Clouds (count, 3, points) float32 of the files of a folder, or of an .npy array (count, most, 3) in which rows of
    NaN stand for points that a cloud does not have.

    points: of every item; of a cloud with more, so many are drawn, and of one with fewer all and some of them again, by
    the seed. normalise: each cloud is moved to the mean 0 and scaled to the largest distance 1 from there.
    labels: "folders": subfolders, where there are any, are classes; "none". Raises Refused for what cannot be read.
    """

    path: str
    points: int = 256
    normalise: bool = False
    labels: str = "folders"
    seed: int = 0

    aliases: ClassVar[tuple[str, ...]] = ("clouds",)
    suffixes: ClassVar[tuple[str, ...]] = ENDINGS
    brings: ClassVar[tuple[str, ...]] = ("points", "normalise")

    def __post_init__(self) -> None:
        if self.points < 2 or self.seed < 0 or self.labels not in ("folders", "none"):
            raise Refused(
                f"point clouds need points >= 2, seed >= 0 and labels = folders or none, and were given {self}"
            )

    def load(self) -> Dataset:
        """All clouds, with the class of each where subfolders say one."""
        clouds, files = self._clouds()
        random = np.random.Generator(np.random.Philox(self.seed))
        x = np.stack([self._chosen(cloud, random) for cloud in clouds])
        label, classes = by_folder(files, self.path) if self.labels == "folders" else (None, ())
        conditions = {} if label is None else {"label": label}
        counts = [len(cloud) for cloud in clouds]
        notes: dict[str, Any] = {CLOUD: {"fewest": min(counts), "most": max(counts)}}
        return Dataset(x, conditions, classes, Path(self.path).resolve().stem, notes=notes)

    def peek(self) -> Peek:
        """The shape of an item, and whether there are subfolders."""
        folders = self.labels == "folders" and Path(self.path).is_dir()
        return Peek((3, self.points), folders and bool(by_folder(self._files(), self.path)[1]), cloud=True)

    def _files(self) -> list[str]:
        files = [file for file in walk(Path(self.path)).files if ending(file) in ENDINGS]
        if not files:
            raise Refused(f"no point clouds in {self.path}; read are {' '.join(ENDINGS)}")
        return files

    def _clouds(self) -> tuple[list[np.ndarray], list[str]]:
        place = Path(self.path)
        if place.is_dir():
            files = self._files()
            bar = progress_bar(files, desc=f"reading {place.name}", unit="file", delay=2, leave=False)
            return [read(place / file) for file in bar], files
        if not place.is_file() or place.suffix.lower() != ".npy":
            raise Refused(f"there is no folder of point clouds, and no .npy of them, at {self.path}")
        try:
            array = np.load(place, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise Refused(f"{self.path} cannot be read: {error}") from None
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != "f":
            raise Refused(
                f"{self.path} has shape {array.shape} and dtype {array.dtype}: clouds are floats (count, most, 3)"
            )
        clouds = [cloud[~np.isnan(cloud).any(1)].astype(np.float32) for cloud in array]
        if empty := [i for i, cloud in enumerate(clouds) if not len(cloud)]:
            raise Refused(f"{self.path}: cloud {empty[0]} has no points")
        return clouds, []

    def _chosen(self, cloud: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """So many points, (3, points)."""
        if self.normalise:
            cloud = cloud - cloud.mean(0)
            cloud = cloud / (np.linalg.norm(cloud, axis=1).max() or 1.0)
        count, more = len(cloud), self.points - len(cloud)
        which = random.permutation(count)[: self.points] if more <= 0 else np.arange(count)
        if more > 0:
            which = np.concatenate([which, random.integers(count, size=more)])
        return cloud[which].T
