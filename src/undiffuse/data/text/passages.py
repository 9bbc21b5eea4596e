"""Files of text, plain, packed by gzip, or in lines of JSON: one passage after the other, however large they are."""

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from undiffuse.core.errors import Refused, near
from undiffuse.data.walk import walk

ENDINGS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
PIECE = 2**20  # bytes that are read at once
LONGEST = 2**26  # bytes of one line of JSON, or without a space
MARK = b"\xef\xbb\xbf"  # what some programs write before text

OnRead = Callable[[int], Any]  # called with how many bytes of the files were read


@dataclass(frozen=True)
class Piece:
    """Some of a passage's text, cut behind a space where it has one; ends: it is the passage's last."""

    text: str
    ends: bool


def is_text(name: str) -> bool:
    """Whether a file of this name is read as text."""
    return name.lower().endswith(ENDINGS)


def files(path: str) -> list[Path]:
    """The file, or all files of text below the folder in the order of their names; raises Refused if there are none."""
    there = Path(path)
    if there.is_file():
        return [there]
    if not there.is_dir():
        raise Refused(f"there is no text at {path}")
    found = [there / file for file in walk(there).files if is_text(file)]
    found.sort(key=lambda file: file.as_posix())
    if not found:
        raise Refused(f"{path} has no files of text: {', '.join(ENDINGS)}")
    return found


def passages(file: Path, key: str, lines: bool, on_read: OnRead) -> Iterator[Piece]:
    """The passages of a file: of lines of JSON one a line, of plain text one a line if `lines`, else the whole file.

    key: the field of the lines of JSON that holds the text. Raises Refused, with line or offset, for a file that is not
    text.
    """
    is_json = file.name.lower().removesuffix(".gz").endswith(".jsonl")
    with _open(file, on_read) as stream:
        if is_json:
            yield from _of_json(file, stream, key)
        elif lines:
            for number, line in _lines(file, stream):
                if line.strip():
                    yield Piece(_decoded(file, line, f"line {number}"), True)
        else:
            yield from _whole(file, stream)


def _whole(file: Path, stream: BinaryIO) -> Iterator[Piece]:
    """One passage in pieces; the pieces of a text are the text again."""
    rest, offset = b"", 0
    for data in _pieces(file, stream):
        data = data.removeprefix(MARK) if offset == 0 and not rest else data
        data = rest + data
        cut = max(data.rfind(b" "), data.rfind(b"\n")) + 1
        cut = len(data) // 2 if not cut and len(data) > LONGEST else cut
        while 0 < cut < len(data) and data[cut] & 0xC0 == 0x80:  # not within a character
            cut -= 1
        if cut:
            yield Piece(_decoded(file, data[:cut], "offset", offset), False)
        rest, offset = data[cut:], offset + cut
    yield Piece(_decoded(file, rest, "offset", offset), True)


def _of_json(file: Path, stream: BinaryIO, key: str) -> Iterator[Piece]:
    for number, line in _lines(file, stream):
        if not line.strip():
            continue
        text = _decoded(file, line, f"line {number}")
        shown = text.strip() if len(text) <= 80 else text[:77] + "..."
        try:
            said: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{file}, line {number} is no JSON ({error}): {shown}") from None
        if not isinstance(said, dict):
            raise Refused(f"{file}, line {number} is no object with a field {key!r}: {shown}")
        if key not in said:
            there = ", ".join(map(str, list(said)[:20])) or "none"
            raise Refused(
                f"{file}, line {number} has no field {key!r}{near(key, list(said))}; its fields are: {there}; "
                "name one with data.key"
            )
        if not isinstance(said[key], str):
            raise Refused(f"{file}, line {number}: its {key!r} is {str(said[key])[:40]}, and no text: {shown}")
        half = next((c for c in said[key] if "\ud800" <= c <= "\udfff"), None) if not said[key].isascii() else None
        if half is not None:
            raise Refused(f"{file}, line {number} has half a character, {half!r}, which is no UTF-8 text: {shown}")
        yield Piece(said[key], True)


def _lines(file: Path, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers, from 1."""
    rest, number = b"", 1
    for data in _pieces(file, stream):
        data = data.removeprefix(MARK) if number == 1 and not rest else data
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield number, line.removesuffix(b"\r")
            number += 1
        if len(rest) > LONGEST:
            raise Refused(f"{file}, line {number} has more than {LONGEST} bytes: is it text?")
    if rest:
        yield number, rest.removesuffix(b"\r")


def _pieces(file: Path, stream: BinaryIO) -> Iterator[bytes]:
    try:
        while data := stream.read(PIECE):
            yield data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused(f"{file} is no whole gzip file: {error}") from None
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror or error}") from None


def _decoded(file: Path, data: bytes, where: str, offset: int = 0) -> str:
    """The text of these bytes; where: of the file, "offset" for the number of the byte that is wrong."""
    nul = data.find(b"\0")
    if nul >= 0:
        raise Refused(f"{file} is not text: it has a zero byte at {_place(where, offset + nul)}; save UTF-16 as UTF-8")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        byte, place = data[error.start], _place(where, offset + error.start)
        raise Refused(f"{file} is no UTF-8 text: byte 0x{byte:02x} at {place}; save it as UTF-8") from None


def _place(where: str, offset: int) -> str:
    return f"offset {offset}" if where == "offset" else where


class _CountingFile(io.FileIO):
    """A file that reports how many of its bytes were read."""

    def __init__(self, file: Path, on_read: OnRead) -> None:
        super().__init__(file, "rb")
        self._on_read = on_read

    def readinto(self, buffer: Any, /) -> int | None:
        count = super().readinto(buffer)
        self._on_read(count or 0)
        return count


@contextmanager
def _open(file: Path, on_read: OnRead) -> Iterator[BinaryIO]:
    try:
        raw = _CountingFile(file, on_read)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror or error}") from None
    with io.BufferedReader(raw, PIECE) as stream:
        packed = file.name.lower().endswith(".gz")
        yield gzip.GzipFile(fileobj=stream) if packed else stream  # pyright: ignore[reportReturnType]
