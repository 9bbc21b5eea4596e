"""Checkpoints: a run's state in one folder, such as checkpoints/00000500/, which is complete or absent."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.precision import NAMES
from undiffuse.storage.files import read_json, read_tensors, sweep, whole, write_json, write_tensors

FOLDER = "checkpoints"
TENSORS, STATE = "state.safetensors", "state.json"
FIELDS: dict[str, Callable[[Any], bool]] = {  # what a state holds at least
    "step": lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
    "seconds": lambda v: _number(v) and v >= 0,
    "pending": lambda v: (
        isinstance(v, list) and all(isinstance(p, list) and len(p) == 2 and all(map(_number, p)) for p in v)
    ),
    "stamp": lambda v: isinstance(v, str),
    "precision": lambda v: v in ("auto", *NAMES),  # what it was trained in
}


def save(run: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint of tensors and a JSON object; it gets its name once it is completely on the disk."""
    path = run / FOLDER / f"{step:08d}"
    with whole(path) as folder:
        folder.mkdir()
        write_tensors(folder / TENSORS, tensors, {"step": step})
        write_json(folder / STATE, {"step": step, **state})
    return path


def newest(run: Path) -> Path | None:
    """The last checkpoint of a run, or None."""
    return max(_all(run), default=None)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A checkpoint's tensors and JSON object; raises Refused if it is broken. Runs no code from the files."""
    state = read_json(path / STATE, "checkpoint")
    state.setdefault("precision", "auto")  # of runs from before it was written down
    for key, fits in FIELDS.items():
        if not fits(state.get(key)):
            raise Refused(f"checkpoint {path} is broken: its {STATE} lacks or spoils {key!r}")
    tensors, about = read_tensors(path / TENSORS, "checkpoint")
    if about.get("step") != state.get("step"):
        raise Refused(
            f"checkpoint {path} mixes the steps {about.get('step')} and {state.get('step')}: "
            "remove it, and the one before is used"
        )
    return tensors, state


def prune(run: Path, keep: int) -> None:
    """Remove all checkpoints but the newest `keep`, and incomplete ones of killed processes."""
    sweep(run / FOLDER)
    for path in sorted(_all(run))[:-keep]:
        shutil.rmtree(path, ignore_errors=True)


def _all(run: Path) -> list[Path]:
    return [
        path for path in (run / FOLDER).glob("[0-9]*") if path.is_dir() and path.name.isascii() and path.name.isdigit()
    ]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
