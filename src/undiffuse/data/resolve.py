"""From the path or the name that a person types to data."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from undiffuse.core import registry
from undiffuse.core.errors import Refused, near
from undiffuse.data.dataset import Dataset
from undiffuse.data.images.decode import ENDINGS
from undiffuse.data.sources.file import USUAL
from undiffuse.data.sources.huggingface import SAVED
from undiffuse.data.sources.shards import PACKED
from undiffuse.data.stored import members
from undiffuse.data.text.passages import is_text
from undiffuse.data.walk import ending, walk
from undiffuse.recipes.recipe import put, setting
from undiffuse.storage import image_file, video_file

SUFFIXES = {
    ".npz": "file",
    ".npy": "file",
    ".csv": "table",
    ".tsv": "table",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".tar": "shards",
    ".txt": "text",
    ".jsonl": "text",
    ".wav": "audio",
    **dict.fromkeys(video_file.ENDINGS, "video"),
}
CLOUDS = (".ply", ".xyz", ".npy")  # of a folder; a file alone is read as what such files mostly are
VIDEOS = "videos"  # the array of an .npz that is read as such
HUB = "hf:"
NOT_DATA = ("recipe.toml", "model.safetensors")  # a folder with one of these is a run


def table(path: str) -> dict[str, Any]:
    """The [data] table for a folder, a file, a pattern of .tar files, hf:NAME or a component's name.

    Raises Refused if it is none of them.
    """
    if path.startswith(HUB):
        return {"name": "huggingface", "path": path.removeprefix(HUB)}
    there = Path(path := os.path.expanduser(path))
    if there.is_dir():
        if any((there / name).exists() for name in NOT_DATA):
            raise Refused(f"{path} is the folder of a run, and no data")
        return {"name": _folder(there), "path": path}
    kind = "text" if is_text(path) else "shards" if PACKED.search(path) else SUFFIXES.get(there.suffix.lower())
    if kind == "file" and there.suffix.lower() == ".npz" and there.is_file():
        arrays = members(there)
        kind = "video" if next((name for name in USUAL if name in arrays), "") == VIDEOS else kind
    if kind and (there.exists() or (kind == "shards" and any(mark in path for mark in "{*?["))):
        return {"name": kind, "path": path}
    if there.exists():
        is_image = ", an image: name the folder that it lies in" if there.suffix.lower() in ENDINGS else ""
        raise Refused(f"{path} is no data that can be read{is_image}; a folder or a file of {' '.join(SUFFIXES)}")
    if kind or len(there.parts) > 1:
        raise Refused(f"there is no data at {path}")
    known = registry.names("data")
    if path not in known:
        components = f"no data component {path!r}{near(path, known)}; there are: {', '.join(known)}"
        raise Refused(f"there is no data at {path}, and {components}")
    return {"name": path}


def open(path: str, **fields: Any) -> Dataset:
    """The data of what `table` understands, with these fields of its component."""
    return registry.build("data", {**table(path), **fields}).load()


def open_with(path: str, settings: Sequence[str] = ()) -> Dataset:
    """The same with `field=value` texts for its component."""
    tables: dict[str, Any] = {"data": table(path)}
    for text in settings:
        put(tables, *setting(text if text.startswith("data.") else f"data.{text}"))
    return registry.build("data", tables["data"]).load()


def is_data(path: str) -> bool:
    """Whether there is something at this path that is data, and not a recipe or a run."""
    there = Path(path)
    if path.startswith(HUB):
        return True
    if there.is_dir():
        return not any((there / name).exists() for name in NOT_DATA)
    return is_text(path) or PACKED.search(path) is not None or there.suffix.lower() in SUFFIXES


def _folder(there: Path) -> str:
    """Which component reads this folder: saved by Hugging Face's library, of .tar files, of videos, of sounds, of point
    clouds, of texts, else of images.
    """
    if any((there / name).exists() for name in SAVED):
        return "huggingface"
    if any(there.glob("*.tar")) or any(PACKED.search(path.name) for path in there.glob("*.t*")):
        return "shards"
    files = walk(there).files
    if files and all(ending(file) in video_file.ENDINGS for file in files) and _moves(there / files[0]):
        return "video"
    if any(ending(file) in ENDINGS for file in files):
        return "folder"  # images, and the texts beside them are their captions
    if any(ending(file) == ".wav" for file in files):
        return "audio"
    if any(ending(file) in CLOUDS for file in files):
        return "point_clouds"
    return "text" if any(map(is_text, files)) else "folder"


def _moves(file: Path) -> bool:
    """Whether a file is a video; a .gif of one picture is an image."""
    try:
        return ending(file.name) != video_file.GIF or image_file.kind(file).pages > 1
    except (OSError, Refused):
        return False
