"""A chain as one folder: each stage in a folder of its own, and the file that puts them together again."""

from pathlib import Path
from typing import Any

import tomli_w

from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused
from undiffuse.storage.files import whole, write_text

FILE = "chain.toml"


def export_stages(chain: Any, folder: Path, *, diffusers: bool = False) -> list[str]:
    """Write the stages of a chain, whole or not at all, as runs or as folders of diffusers; returns what was written.

    `undiffuse chain FOLDER/chain.toml -o RUN` makes the chain of them again. Raises Refused for a run that is no chain,
    for a stage that diffusers cannot hold, by its name, and where something lies in the folder already.
    """
    if not chain.stages:
        raise Refused(f"--format stages is of a chain, and this is {chain.what}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise Refused(f"{folder} is there already: name a folder that is not, or an empty one")
    with whole(folder) as unfinished:
        unfinished.mkdir()
        for stage in chain.stages:
            place = unfinished / stage.name
            if not diffusers:
                stage.run.save(place)
                stage.run.recipe.save(place)
                continue
            try:
                export(stage.run, place)
            except Refused as error:
                raise Refused(
                    f"stage {stage.name!r} of the chain: {error}\n--format stages writes each stage as a run"
                ) from None
        said = chain.recipe["chain"]["stages"]
        tables = {stage.name: {**said[stage.name], "run": stage.name} for stage in chain.stages}
        write_text(unfinished / FILE, tomli_w.dumps({"stages": tables}))
    return [*(stage.name for stage in chain.stages), FILE]
