"""Pictures as files."""

import io
from pathlib import Path

from PIL import Image

from undiffuse.model.files import whole


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file's bytes."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; raises Refused if it cannot be written."""
    with whole(path) as temporary:
        temporary.write_bytes(content)
