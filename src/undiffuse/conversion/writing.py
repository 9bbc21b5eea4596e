"""Files of diffusers' folders: indices, configurations and weights, and the whole folder written at once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import CONFIG, INDEX
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.sampling.run import Run
from undiffuse.storage.files import whole

VERSION = "0.30.0"  # of diffusers, whose fields these are
WEIGHTS = "diffusion_pytorch_model.safetensors"


def export(run: Run, folder: Path) -> str:
    """Write the run as the folder of the first pipeline that holds it, whole or not at all; returns that class's name.

    Raises Refused, with the reason of each pipeline, where none does, and where something lies in the folder already.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise Refused(f"{folder} is there already: name a folder that is not, or an empty one")
    reasons: list[str] = []
    for name in registry.names("pipelines"):
        pipeline: Pipeline = registry.get("pipelines", name)()
        try:
            pipeline.check(run)
        except Refused as error:
            reasons.append(f"{name}: {error}")
            continue
        with whole(folder) as unfinished:
            unfinished.mkdir()
            return pipeline.write(run, unfinished)
    raise Refused("\n  ".join(["no pipeline of diffusers holds this run", *reasons]))


def write_index(folder: Path, name: str, parts: Mapping[str, Any]) -> None:
    """model_index.json of a pipeline of this class; parts: library and class of each."""
    said = {"_class_name": name, "_diffusers_version": VERSION, **parts}
    _write(folder / INDEX, said)


def write_config(folder: Path, config: Mapping[str, Any], file: str = CONFIG) -> None:
    """A part's configuration, in its folder."""
    folder.mkdir(exist_ok=True)
    _write(folder / file, config)


def write_weights(folder: Path, weights: Mapping[str, Tensor], file: str = WEIGHTS) -> None:
    """A part's weights, in its folder."""
    folder.mkdir(exist_ok=True)
    content = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(content, folder / file, metadata={"format": "pt"})


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
