"""The log of a training run: metrics.jsonl and TensorBoard."""

import json
import math
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from undiffuse.core.errors import Refused
from undiffuse.storage.files import read_text, write_text

FILE = "metrics.jsonl"
BOARD = "tensorboard"
LIMIT = 2**30


class Log:
    """One line of JSON a time in metrics.jsonl, flushed, and its numbers in TensorBoard.

    folder: None writes nothing. step: where the run begins; what an interrupted run wrote beyond it is cut off.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._file = self._board = None
        if folder is None:
            return
        self._file = folder / FILE
        lines = read_text(self._file, "metrics", LIMIT).splitlines() if self._file.exists() else []
        write_text(self._file, "".join(f"{line}\n" for line in lines if _step(line) <= step))
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / BOARD), purge_step=step + 1 if step else None)
        weakref.finalize(self, self._board.close)

    def write(self, line: Mapping[str, Any]) -> None:
        """Add one line; its numbers become TensorBoard scalars, at its step. Raises Refused if it cannot be written."""
        if self._file is None or self._board is None:
            return
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({key: _written(value) for key, value in line.items()}) + "\n")
            for key, value in line.items():
                if isinstance(value, int | float) and key != "step":
                    self._board.add_scalar(key, value, line["step"])
            self._board.flush()
        except OSError as error:
            raise Refused(f"cannot write {self._file}: {error.strerror or error}") from error

    def close(self) -> None:
        """Write what is left and close the files."""
        if self._board is not None:
            with suppress(OSError):  # a full disk was reported when it happened
                self._board.close()


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line cut short by a crash is left out."""
    path = folder / FILE
    lines = read_text(path, "metrics", LIMIT).splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if _step(line) < math.inf]


def _step(line: str) -> float:
    """The line's step; infinite for a line that is no JSON object."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


def _written(value: Any) -> Any:
    """JSON knows no infinity and no NaN: they are written as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
