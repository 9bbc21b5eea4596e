"""Files as a stranger would write them, or change them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from undiffuse.sampling.run import FILE

TABLES: dict[str, Any] = {
    "data": {"name": "moons"},
    "codec": {"name": "identity"},
    "schedule": {"name": "edm"},
    "network": {"name": "mlp", "width": 4},
    "parameterization": {"name": "edm"},
    "objective": {"name": "denoising"},
    "train": {"steps": 5},
}


def bytes_of(header: Any, data: bytes = b"", size: int | None = None) -> bytes:
    """A safetensors file: the length of its header, the header (an object, or its bytes), the tensors' bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def rewrite(run: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change a model's header and description, in place: change(header, about)."""
    content = (run / FILE).read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    about = json.loads(header["__metadata__"]["about"])
    change(header, about)
    header["__metadata__"] = {"about": json.dumps(about)}
    (run / FILE).write_bytes(bytes_of(header, content[8 + size :]))


def mutated(draw: Callable[[Any], Any], content: bytes) -> bytes:
    """The bytes with a few of them cut out, overwritten, doubled or put elsewhere, as hypothesis draws it."""
    for _ in range(draw(st.integers(1, 3))):
        first, last = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        last = min(last, first + draw(st.sampled_from([1, 4, 40, 4000])))
        part = content[first:last]
        instead = draw(
            st.sampled_from([b"", b"\0", b"\xff" * len(part), part * 2, b'"', b"[", b"}", b"9" * 20, b"e", b"-"])
        )
        content = content[:first] + instead + content[last:]
    return content
