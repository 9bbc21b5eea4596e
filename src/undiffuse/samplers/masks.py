"""What samplers of tokens ask of a process: a vocabulary, and for some a mask."""

from typing import Any

from undiffuse.core.errors import Refused
from undiffuse.core.process.process import Process


def tokens(process: Process, who: str) -> Any:
    """The process, if its tokens are replaced by draws from one noise vector; raises Refused, naming `who` asks."""
    if process.family != "tokens" or not process.keeps:
        raise Refused(
            f"{who} is for tokens that are replaced by draws from a noise vector, not for {type(process).__name__}"
        )
    return process


def mask_of(process: Process, who: str) -> int:
    """The mask token; raises Refused, naming `who` asks, for a process without one."""
    found: int | None = tokens(process, who).absorbing
    if found is None:
        raise Refused(f"{who} reveals masked tokens, and this noise has no mask: use ancestral or ddim")
    return found
