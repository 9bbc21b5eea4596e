"""Your own videos: GIF and mp4 files, folders of frames, or an array of videos."""

import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.images.decode import known_channels
from undiffuse.data.images.resize import Resize
from undiffuse.data.labels import by_folder
from undiffuse.data.resolve import open as open_data
from undiffuse.data.source import Peek, Resized
from undiffuse.data.sources.file import File
from undiffuse.data.stills import with_images
from undiffuse.data.video_clips import Clips, cut
from undiffuse.data.walk import ending, walk
from undiffuse.progress import progress_bar
from undiffuse.storage import image_file, video_file
from undiffuse.storage.notes import VIDEO

AXES = {4: "NDHW"}  # of an array with so many, as `file` calls them; others are guessed
PACE = "rate"  # the condition that says how fast a clip is


@dataclass(frozen=True)
class Video(Resized):
    """Clips (count, channels, frames, height, width) of videos: .gif files, .mp4 and the like (the extra `av`), folders
    whose images are the frames in the order of their names, or an .npy or .npz of (count, frames, height, width[, 1 to
    4 channels]).

    path: a file, or a folder of files or of folders of frames. frames: of a clip; 0: all, where videos are equally
    long. strides: every how many frames of a video one is taken; with several, each video is taken in each of them, and
    the condition `rate` (count, 1) says log2 of the frames of the video that a frame of the clip stands for. A video is
    cut into as many clips as it has, one behind the other; those of a video are held out together.
    size, fit, filter, crop: how frames are resized, see `Resize`. channels: 1 grey, 3 RGB. labels: "folders": folders
    that the videos lie in, where there are any, are classes; "none"; of an array as of `file`, as are key and axes.
    images, share: a folder or a file of images that are learned from as well, resized likewise: this share of all items
    are stacks of them, of which the condition `still` is 1, see `with_images`.
    skip_broken: leave out videos that cannot be read or are too short. Raises Refused, naming the file, for what cannot
    be used, and for frames of several sizes.
    """

    path: str
    frames: int = 16
    strides: tuple[int, ...] = (1,)
    channels: int | None = None
    labels: str = "folders"
    key: str = ""
    axes: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    images: str = ""
    share: float = 0.25

    files: ClassVar[tuple[str, ...]] = (*Resized.files, "images")
    aliases: ClassVar[tuple[str, ...]] = ("videos",)
    suffixes: ClassVar[tuple[str, ...]] = (*video_file.ENDINGS, *image_file.ENDINGS, ".npy", ".npz")
    brings: ClassVar[tuple[str, ...]] = (*Resized.brings, "frames", "strides", "channels", "axes")

    def __post_init__(self) -> None:
        known_channels(self.channels)
        _ = self.resize
        if self.frames < 0 or not self.strides or min(self.strides) < 1:
            raise Refused(f"video needs frames >= 0 and strides of 1 or more, not {self.frames} and {self.strides}")

    def load(self) -> Dataset:
        """All clips, with the class of each where folders say one."""
        if self._array:
            return self._of_array()
        root, videos = self._videos()
        parts: list[Clips] = []
        kept: list[str] = []
        broken: dict[str, str] = {}
        rate = 0.0
        for name, files in progress_bar(
            videos.items(), desc=f"reading {root.name}", unit="video", delay=2, leave=False
        ):
            try:
                video = self._read(root, name, files)
                clips = self._clips(video.x, name)
                if parts and parts[0].x.shape[1:] != clips.x.shape[1:]:
                    shapes = [_size(each) for each in (clips.x, parts[0].x)]
                    raise Refused(f"{name} has {shapes[0]}, and those before it {shapes[1]}: {self._advice(clips.x)}")
            except Refused as error:
                if not self.skip_broken:
                    raise Refused(f"{error}\nMend it, or go on without such videos: --skip-broken") from None
                broken[name] = str(error)
                continue
            rate = rate or video.rate
            parts.append(clips)
            kept += [name] * len(clips.x)
        if not parts:
            raise Refused(f"no video of {self.path} can be read: {next(iter(broken.values()))}")
        if broken:
            logging.getLogger("undiffuse").warning("%s: %d videos were left out", self.path, len(broken))
        left = {"broken": {"count": len(broken), "examples": broken}} if broken else {}
        conditions, classes = self._classes(kept)
        notes = {VIDEO: {"rate": rate / min(self.strides), "videos": len(set(kept))}, **left}
        return self._dataset(parts, conditions, classes, root.resolve().name, notes, kept)

    def peek(self) -> Peek:
        """The shape of a clip of the first video, and whether there are classes."""
        if self._array:
            seen = self._file().peek()
            channels, frames, *sides = seen.shape
            return Peek((channels, self.frames or frames, *sides), seen.labelled, video=True)
        root, videos = self._videos()
        name, files = next(iter(videos.items()))
        shape = self._clips(self._read(root, name, files).x, name).x.shape[1:]
        return Peek(shape, bool(self._classes(list(videos))[1]), video=True)

    @property
    def _array(self) -> bool:
        return ending(self.path) in (".npy", ".npz")

    def _file(self) -> File:
        file = File(self.path, self.key, "" if self.labels == "folders" else self.labels, conditions=self.conditions)
        axes = self.axes or AXES.get(len(file.stored), "")
        return replace(file, axes=axes, skip_broken=self.skip_broken)

    def _of_array(self) -> Dataset:
        """The clips of an array's videos, with what stands beside these."""
        whole = self._file().load()
        parts = [self._clips(self._resized(np.asarray(x)), f"{self.path}: video {i}") for i, x in enumerate(whole.x)]
        video = np.repeat(np.arange(len(parts)), [len(each.x) for each in parts])
        beside = {name: values[video] for name, values in whole.conditions.items()}
        notes = {**whole.notes, VIDEO: {"rate": video_file.RATE / min(self.strides), "videos": len(parts)}}
        return self._dataset(parts, beside, whole.classes, whole.name, notes, [str(i) for i in video])

    def _dataset(
        self,
        parts: list[Clips],
        conditions: dict[str, np.ndarray],
        classes: tuple[str, ...],
        name: str,
        notes: dict[str, Any],
        kept: list[str],
    ) -> Dataset:
        split: dict[str, Any] = {"groups": np.unique(kept, return_inverse=True)[1]}
        if len(parts) == 1:
            clips, overlap = parts[0].in_time()
            parts, split = [clips], {"overlap": overlap}
        if len(self.strides) > 1:
            strides = np.concatenate([each.stride for each in parts])
            conditions = {**conditions, PACE: np.log2(strides).astype(np.float32)[:, None]}
        x = np.concatenate([each.x for each in parts])
        made = Dataset(x, conditions, tuple(classes), name, notes=notes, names=kept, **split)
        if not self.images:
            return made
        same = {"size": x.shape[3:], "fit": self.fit, "filter": self.filter, "crop": self.crop}
        channels = {"channels": x.shape[1]} if Path(self.images).is_dir() else {}
        return with_images(made, open_data(self.images, **same, **channels), self.share)

    def _videos(self) -> tuple[Path, dict[str, list[str]]]:
        """Each video's name, a file or a folder, and its files, relative to the folder, in their order."""
        root = Path(self.path)
        if root.is_file() and ending(root.name) in video_file.ENDINGS:
            return root.parent, {root.name: [root.name]}
        if not root.is_dir():
            raise Refused(f"there is no folder of videos, and no such file, at {self.path}")
        found: dict[str, list[str]] = {}
        for file in walk(root).files:
            if ending(file) in video_file.ENDINGS:
                found[file] = [file]
            elif ending(file) in image_file.ENDINGS:
                found.setdefault(str(PurePosixPath(file).parent), []).append(file)
        if not found:
            endings = " ".join(video_file.ENDINGS)
            raise Refused(f"no videos in {self.path}: read are files of {endings}, and folders of images")
        return root, {name: sorted(files, key=_natural) for name, files in found.items()}

    def _read(self, root: Path, name: str, files: list[str]) -> video_file.Frames:
        """A video with its frames resized; raises Refused, naming the frame, for frames of several sizes."""
        if ending(files[0]) in video_file.ENDINGS:
            try:
                video = video_file.read(root / files[0], self.channels or 3)
            except Refused:
                raise
            except Exception as error:  # a decoder may stumble over damaged bytes in any way
                raise Refused(f"{name} cannot be read: {error}") from None
            return video_file.Frames(self._resized(video.x), video.rate)
        frames: list[np.ndarray] = []
        channels = self.channels
        for file in files:
            try:
                channels = channels or min(3, image_file.kind(root / file).channels)
                frame = self.resize.apply(image_file.read(root / file, image_file.Target(channels)))
            except Exception as error:  # likewise
                raise Refused(f"{file} cannot be read: {error}") from None
            if frames and frame.shape != frames[0].shape:
                (_, high, wide), (_, first, across) = frame.shape, frames[0].shape
                raise Refused(
                    f"the frames of {name} have several sizes: {file} is {wide} x {high}, and {files[0]} is "
                    f"{across} x {first}: --set data.size={min(first, across)} brings all to one size"
                )
            frames.append(frame)
        return video_file.Frames(np.stack(frames, axis=1), video_file.RATE)

    def _resized(self, x: np.ndarray) -> np.ndarray:
        """A video (channels, frames, height, width) with its frames in their size."""
        if self.resize == Resize():
            return x
        return np.stack([self.resize.apply(x[:, i]) for i in range(x.shape[1])], axis=1)

    def _classes(self, kept: list[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """The label of each clip by the folder that its video lies in."""
        label, classes = by_folder(kept, self.path) if self.labels == "folders" else (None, ())
        return ({} if label is None else {"label": label}), classes

    def _clips(self, x: np.ndarray, name: str) -> Clips:
        return cut(x, self.frames, self.strides, name)

    def _advice(self, x: np.ndarray) -> str:
        return (
            f"--set data.size={min(x.shape[3:])} brings all to one size, --set data.frames={x.shape[2]} to one length"
        )


def _natural(file: str) -> list[Any]:
    """Names in the order in which people count: frame2 before frame10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file)]


def _size(x: np.ndarray) -> str:
    channels, frames, height, width = x.shape[1:]
    return f"{frames} frames of {width} x {height} with {channels} channel{'s' * (channels > 1)}"
