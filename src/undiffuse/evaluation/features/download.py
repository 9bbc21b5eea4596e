"""Downloads weights, checks their digest, and resumes interrupted downloads."""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from undiffuse.core.errors import Refused
from undiffuse.progress import progress_bar

BLOCK = 2**20
WAIT = 30  # seconds without a byte


def home() -> Path:
    """UNDIFFUSE_CACHE, or ~/.cache/undiffuse."""
    return Path(os.environ.get("UNDIFFUSE_CACHE") or Path.home() / ".cache" / "undiffuse")


def fetch(url: str, digest: str, target: Path) -> Path:
    """Download the URL to `target`, unless the file is already there.

    A partial download is kept as `target`.part and resumed next time. digest: the first digits of its SHA-256.
    Raises Refused, with the place to put the file by hand, if the download fails or the digest differs.
    """
    if target.exists():
        return target
    part = target.with_name(target.name + ".part")
    by_hand = f"fetch {url} yourself and put it at {target}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _append(url, part)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise Refused(f"cannot download {url}: {reason}; run the command again to go on, or {by_hand}") from error
    found = hashlib.sha256(part.read_bytes()).hexdigest()
    if not found.startswith(digest):
        part.unlink()
        raise Refused(f"{url} is not the file it should be (SHA-256 {found[:8]}..., not {digest}...); {by_hand}")
    part.replace(target)
    return target


def _append(url: str, part: Path) -> None:
    """Append the missing part of the file; raises OSError if the download ends too early."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=WAIT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise
    with answer:
        goes_on = answer.status == 206
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            part.open("ab" if goes_on else "wb") as file,
            progress_bar(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, delay=2) as bar,
        ):
            while block := answer.read(BLOCK):
                bar.update(file.write(block))
    if total is not None and part.stat().st_size < total:
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes")
