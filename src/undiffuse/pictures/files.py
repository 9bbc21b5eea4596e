"""Pictures as files' bytes."""

import io

from PIL import Image

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file's bytes."""
    return encoded(image, ".png")


def encoded(image: Image.Image, suffix: str) -> bytes:
    """The picture as the bytes of a file with this suffix, one of FORMATS."""
    how = {"JPEG": {"quality": 92}, "WEBP": {"lossless": True}}.get(FORMATS[suffix], {})
    if suffix in (".jpg", ".jpeg") and image.mode not in ("L", "RGB"):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")  # JPEG has no transparency
    file = io.BytesIO()
    image.save(file, FORMATS[suffix], **how)
    return file.getvalue()
