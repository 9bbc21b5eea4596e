"""How the program is called, for messages that say what to type."""

import os
import shlex

from undiffuse.core.plugins import in_use


def command() -> str:
    """`undiffuse`, and `--use mine.py` for each file in use, before a command and its words."""
    files = (min(str(path), os.path.relpath(path), key=len) for path in in_use())
    return " ".join(["undiffuse", *(f"--use {shlex.quote(file)}" for file in files)])
