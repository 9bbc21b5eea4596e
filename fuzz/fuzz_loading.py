"""Coverage-guided fuzzing of what reads a stranger's file: `python fuzz/fuzz_loading.py [-max_total_time=600]`.

Needs `pip install atheris`. Only Refused may come out; anything else stops the fuzzer and leaves the input beside it.
"""

import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["undiffuse"]):  # pyright: ignore[reportAttributeAccessIssue]
    from undiffuse.core.errors import Refused
    from undiffuse.models.load import load
    from undiffuse.recipes import build
    from undiffuse.recipes.recipe import Recipe
    from undiffuse.sampling.run import FILE
    from undiffuse.storage import files
    from undiffuse.storage.strict_json import parse_json

PLACE = Path(tempfile.mkdtemp(prefix="undiffuse-fuzz-"))


def one(content: bytes) -> None:
    """Take the first byte as the choice of a reader, the rest as its file."""
    rest, text = content[1:], content[1:].decode("utf-8", "replace")
    with suppress(Refused):
        match content[0] % 4 if content else 0:
            case 0:
                (PLACE / "a.toml").write_bytes(rest)
                build.check(Recipe.find(PLACE / "a.toml"))
            case 1:
                build.check(Recipe.find("toy-2d").override([text]))
            case 2:
                (PLACE / FILE).write_bytes(rest)
                load(PLACE / FILE)
                files.read_tensors(PLACE / FILE, "model")
            case _:
                parse_json(text, "it")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
