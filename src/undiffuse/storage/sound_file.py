"""Sounds in .wav files: whole numbers of 8 to 32 bits and floats are read, 16 bits are written."""

import io
import struct
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undiffuse.core.errors import Refused

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # of a file's format
LARGEST = 2**31  # bytes
OPEN = 2**31  # the length of a sound from which on it says none, as of one that was written to a pipe
FULL = 32767  # of 16 bits, which 1 is written as


@dataclass(frozen=True, eq=False)
class Sound:
    """x: (channels, frames) float32, of whole numbers in [-1, 1). rate: frames a second."""

    x: np.ndarray
    rate: int


def read(path: Path) -> Sound:
    """The sound in a .wav file; raises Refused, naming it, for what is none, is cut off, or is compressed."""
    if path.stat().st_size > LARGEST:
        raise Refused(f"{path} has more than {LARGEST} bytes: cut it into shorter files")
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise Refused(f"{path} is no .wav file")
    chunks = _chunks(data, path)
    head, body = chunks.get(b"fmt "), chunks.get(b"data")
    if head is None or body is None or len(head) < 16:
        raise Refused(f"{path} is damaged: it has no sound")
    form, channels, rate, _, step, bits = struct.unpack("<HHIIHH", head[:16])
    if form == EXTENSIBLE and len(head) >= 26:
        (form,) = struct.unpack("<H", head[24:26])
    if form not in (PCM, FLOAT) or not channels or not rate or step != channels * bits // 8:
        raise Refused(f"{path} is compressed, or in a form that is not read: save it as PCM or as floats")
    frames = len(body) // step if step else 0
    if not frames:
        raise Refused(f"{path} holds no sound")
    numbers = _numbers(body[: frames * step], form, bits)
    if numbers is None:
        raise Refused(f"{path} has {bits} bits a number: PCM of 8, 16, 24 and 32 bits and floats of 32 and 64 are read")
    if not np.isfinite(numbers).all():
        raise Refused(f"{path} has numbers that are NaN or infinite")
    return Sound(np.ascontiguousarray(numbers.reshape(frames, channels).T), rate)


def written(x: np.ndarray, rate: int) -> bytes:
    """A .wav of 16 bits of a sound (channels, frames); what is beyond [-1, 1] is clipped."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(x.shape[0])
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes((np.clip(x.T, -1, 1) * FULL).round().astype("<i2").tobytes())
    return file.getvalue()


def _chunks(data: bytes, path: Path) -> dict[bytes, bytes]:
    """The first chunk of each name; raises Refused where the sound ends before its length, if it says one."""
    found: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        there = len(data) - place - 8
        if name == b"data" and there < size < OPEN:
            raise Refused(f"{path} is cut off: of its sound there are {there:,} of {size:,} bytes")
        found.setdefault(name, data[place + 8 : place + 8 + size])
        place += 8 + size + size % 2
    return found


def _numbers(body: bytes, form: int, bits: int) -> np.ndarray | None:
    """The numbers as float32; None for a width that there is not."""
    if form == FLOAT:
        return np.frombuffer(body, f"<f{bits // 8}").astype(np.float32) if bits in (32, 64) else None
    if bits == 8:
        return (np.frombuffer(body, np.uint8).astype(np.float32) - 128) / 128
    if bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    if bits in (16, 32):
        return (np.frombuffer(body, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)
    return None
