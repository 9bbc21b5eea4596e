"""Folders and single files of other libraries, opened as runs by the pipeline that reads their class."""

import hashlib
import os
from pathlib import Path
from typing import Any

from undiffuse.core import registry
from undiffuse.core.errors import Refused, near
from undiffuse.sampling.run import Run
from undiffuse.storage.files import read_json
from undiffuse.storage.tensor_file import held
from undiffuse.storage.weight_files import PICKLED, SAFE

INDEX, CONFIG, OURS = "model_index.json", "config.json", "recipe.toml"
SINGLE = "StableDiffusionPipeline"  # what a single file of latent diffusion's own program is read as


def foreign(path: Path | str) -> bool:
    """Whether there is a folder or a single file of another library at this path."""
    if os.path.isfile(path):
        return _single(Path(path))
    found = [name for name in (INDEX, CONFIG, OURS) if os.path.isfile(os.path.join(path, name))]
    return bool(found) and OURS not in found


def opened(path: Path | str) -> Run:
    """The run in such a folder or file, on the CPU; raises Refused for a class that no pipeline reads."""
    folder = Path(path)
    name = SINGLE if folder.is_file() else _class_in(folder)
    readers = {each: pipeline for pipeline in registry.names("pipelines") for each in _reads(pipeline)}
    if why := next((said[name] for each in registry.names("pipelines") if name in (said := _refused(each))), ""):
        raise Refused(f"{folder} holds a {name}, which is not read: {why}")
    if name not in readers:
        known = ", ".join(sorted(readers))
        raise Refused(f"{folder} holds {name or 'no class that it names'}{near(str(name), readers)}; read are: {known}")
    pipeline: Any = registry.get("pipelines", readers[name])()
    return pipeline.load(folder)


def weights_digest(path: Path | str) -> str:
    """What tells the weights in such a folder from any others."""
    found = hashlib.blake2b(digest_size=16)
    for file in [Path(path)] if os.path.isfile(path) else sorted(Path(path).rglob("*.*")):
        if file.suffix in (SAFE, *PICKLED, ".json"):
            with file.open("rb") as content:
                found.update(hashlib.file_digest(content, "blake2b").digest())
    return found.hexdigest()


def _class_in(folder: Path) -> str:
    """The class that a folder names; "" where it names none."""
    said = read_json(folder / (INDEX if (folder / INDEX).is_file() else CONFIG), "the configuration")
    return str(said.get("_class_name") or next(iter(said.get("architectures") or ()), ""))


def _single(file: Path) -> bool:
    """Whether a file holds weights without what a run's own file says about itself."""
    if file.suffix != SAFE:
        return file.suffix in PICKLED
    try:
        with held(file, "model") as found:
            return not found.about
    except Refused:  # a run's own file, broken: its reader says what is wrong
        return False


def _refused(pipeline: str) -> Any:
    return registry.constant("pipelines", pipeline, "refuses", {})


def _reads(pipeline: str) -> Any:
    return registry.constant("pipelines", pipeline, "reads", ())
