"""Your own sounds: a folder of .wav files, whose subfolders are classes."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.labels import by_folder
from undiffuse.data.source import Peek, Stored
from undiffuse.data.walk import ending, walk
from undiffuse.progress import progress_bar
from undiffuse.storage.notes import SOUND
from undiffuse.storage.sound_file import Sound, read

WAV = ".wav"
OTHERS = (".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".au")  # which are not read


@dataclass(frozen=True)
class Audio(Stored):
    """Pieces (count, channels, length) float32 of the .wav files of a folder, or of one file, as they stand in them.

    length: samples of a piece. A longer file is cut into several, one behind the other; a shorter file, and a last
    piece of half the length or more, is filled up with silence. rate: samples a second; 0: that of the files, which
    must be the same; else files of other rates are brought to it. channels: 0: those of the files; 1: their mean.
    labels: "folders": subfolders, where there are any, are classes; "none".
    The pieces of a file are held out together, or learned from; of a single file the last ones are held out.
    skip_broken: leave out files that cannot be read. Raises Refused, naming the file, for what cannot be used.
    """

    path: str
    length: int = 4096
    rate: int = 0
    channels: int = 0
    labels: str = "folders"
    skip_broken: bool = False

    aliases: ClassVar[tuple[str, ...]] = ("wav", "sound")
    suffixes: ClassVar[tuple[str, ...]] = (WAV,)
    brings: ClassVar[tuple[str, ...]] = ("length", "rate", "channels")

    def __post_init__(self) -> None:
        if self.length < 2 or min(self.rate, self.channels) < 0 or self.labels not in ("folders", "none"):
            raise Refused(
                f"audio needs length >= 2, rate >= 0, channels >= 0 and labels = folders or none, and was given {self}"
            )

    def load(self) -> Dataset:
        """All pieces, with the class of each where subfolders say one."""
        root, files = self._files()
        parts: list[np.ndarray] = []
        kept: list[str] = []
        broken: dict[str, str] = {}
        first: Sound | None = None
        for file in progress_bar(files, desc=f"reading {root.name}", unit="file", delay=2, leave=False):
            try:
                _refuse_others(file)
                sound = self._brought(read(root / file), file, first)
            except Refused as error:
                if not self.skip_broken:
                    raise Refused(f"{error}\nMend it, or go on without such files: --skip-broken") from None
                broken[file] = str(error)
                continue
            first = first or sound
            cut = pieces(sound.x, self.length)
            parts.append(cut)
            kept += [file] * len(cut)
        if first is None:
            raise Refused(f"no file of {self.path} can be read: {next(iter(broken.values()))}")
        if broken:
            logging.getLogger("undiffuse").warning("%s: %d files were left out", self.path, len(broken))
        notes = {SOUND: {"rate": first.rate}} | (
            {"broken": {"count": len(broken), "examples": broken}} if broken else {}
        )
        label, classes = by_folder(kept, self.path) if self.labels == "folders" else (None, ())
        conditions = {} if label is None else {"label": label}
        groups = np.unique(kept, return_inverse=True)[1]
        split: dict[str, Any] = {"groups": groups} if groups.any() else {"overlap": 1}
        return Dataset(np.concatenate(parts), conditions, classes, root.resolve().name, notes=notes, **split)

    def peek(self) -> Peek:
        """The shape of a piece of the first file, and whether there are subfolders."""
        root, files = self._files()
        wav = next(file for file in files if ending(file) == WAV)
        sound = self._brought(read(root / wav), wav, None)
        labelled = self.labels == "folders" and bool(by_folder(files, self.path)[1])
        return Peek((len(sound.x), self.length), labelled, sound=True)

    def _files(self) -> tuple[Path, list[str]]:
        root = Path(self.path)
        if root.is_file() and ending(root.name) == WAV:
            return root.parent, [root.name]
        if not root.is_dir():
            raise Refused(f"there is no folder of .wav files, and no such file, at {self.path}")
        files = [file for file in walk(root).files if ending(file) in (WAV, *OTHERS)]
        if not any(ending(file) == WAV for file in files):
            for file in files[:1]:
                _refuse_others(file)
            raise Refused(f"no .wav files in {self.path}")
        return root, files

    def _brought(self, sound: Sound, file: str, first: Sound | None) -> Sound:
        """The sound with the rate and the channels that were asked for, or those of the first one."""
        rate = self.rate or (first.rate if first else sound.rate)
        if sound.rate != rate and not self.rate:
            raise Refused(
                f"{file} has {sound.rate} samples a second, and the files before it {rate}: "
                f"--set data.rate={min(rate, sound.rate)} brings all to one rate"
            )
        x = sound.x if sound.rate == rate else resampled(sound.x, sound.rate, rate)
        x = x.mean(0, keepdims=True) if self.channels == 1 else x
        wanted = self.channels or (len(first.x) if first else len(x))
        if len(x) != wanted:
            raise Refused(f"{file} has {len(x)} channels, and {wanted} are needed: --set data.channels=1 mixes them")
        return Sound(x, rate)


def _refuse_others(file: str) -> None:
    """Raises Refused for a sound that is no .wav file."""
    if ending(file) != WAV:
        raise Refused(
            f"{file} is no .wav file: make one of it, as by ffmpeg -i {Path(file).name} {Path(file).stem}.wav"
        )


def pieces(x: np.ndarray, length: int) -> np.ndarray:
    """A sound (channels, frames) in pieces (count, channels, length), one at least, the last filled with silence."""
    frames = x.shape[1]
    count = max(1, frames // length + (2 * (frames % length) >= length))
    padded = np.zeros((len(x), count * length), np.float32)
    used = min(frames, count * length)
    padded[:, :used] = x[:, :used]
    return np.ascontiguousarray(padded.reshape(len(x), count, length).swapaxes(0, 1))


def resampled(x: np.ndarray, now: int, rate: int) -> np.ndarray:
    """A sound (channels, frames) at another rate, by its Fourier transform: frequencies beyond both are left out."""
    before, frames = x.shape[1], max(1, round(x.shape[1] * rate / now))
    found = np.fft.rfft(x, axis=1)[:, : frames // 2 + 1]
    if frames != before and min(frames, before) % 2 == 0:  # the highest frequency is one term of one, two of the other
        found[:, -1] *= 2 if frames < before else 0.5
    return (np.fft.irfft(found, frames, axis=1) * (frames / x.shape[1])).astype(np.float32)
