"""A run's folder, read: whatever kind is there, with the averaged weights."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import devices, registry
from undiffuse.core.arguments import shown
from undiffuse.core.errors import Refused
from undiffuse.recipes import build
from undiffuse.recipes.arrays import named
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.run import FILE, PROCESS, Run
from undiffuse.storage.blueprint import TENSORS, Unwritten
from undiffuse.storage.files import finite, fit
from undiffuse.storage.tensor_file import Held, held


def load(path: Path | str, precision: str = "auto", device: torch.device | str | None = None) -> Any:
    """The run in a folder, of whatever kind, with the averaged weights, ready to use.

    precision: "auto" (bfloat16 where the hardware multiplies it and the network has convolutions; float32 of kinds
    whose gradients are needed), "float32" or "bfloat16".
    device: default a GPU where there is one. Runs no code from the folder, and takes memory only once the file is known
    to hold what its recipe's network needs. Raises Refused if there is no whole run, and no such device.
    """
    where = devices.device(device)
    return _opened(path).to(precision, where)


def generator(path: Path | str, precision: str = "auto", device: torch.device | str | None = None) -> Generator:
    """`load` of a run that draws samples; raises Refused for all others."""
    run = load(path, precision, device)
    if not run.draws:
        raise Refused(f"{path} holds {run.what}, which draws none: {run.use.format(run=path)}")
    return run


def _opened(path: Path | str) -> Run:
    """The run on the CPU."""
    file, what = _file(path)
    with held(file, "model") as found:
        said = Description.of(found.about, what)
        held_arrays = _arrays(found, said.recipe, what)
        said = replace(said, recipe=replace(said.recipe, arrays=held_arrays, home=file.parent.absolute()))
        kind: type[Run] = registry.get("models", said.recipe.kind)
        classes = len(said.classes) if "label" in said.conditions else 0
        # a network may have more than it saves, but not much
        most = (min(len(found) + 1000, TENSORS), found.nbytes + 2**30)
        of = (said.recipe, said.shape, classes, said.codec)
        like = {name: tensor for name, tensor in found.like.items() if not name.startswith(PROCESS)}
        fit(like, build.blueprint(*of, *most, told=said.conditions), what)
        with torch.random.fork_rng(devices=[]), Unwritten():
            module = kind.build(*of, said.conditions)
        for name, place in module.state_dict().items():
            finite({name: (read := found[name])}, what)
            place.copy_(read)
        return kind.of(module.eval().requires_grad_(False), said)


def arrays(path: Path | str) -> dict[str, Tensor]:
    """What the files that a run's recipe names held, by their paths; nothing where no model is whole yet."""
    if not os.path.exists(Path(path) / FILE):
        return {}
    file, what = _file(path)
    with held(file, "model") as found:
        return _arrays(found, Description.of(found.about, what).recipe, what)


def classes(path: Path | str) -> tuple[str, ...] | None:
    """The classes that a run's model knows; None where no model is whole yet."""
    if not os.path.exists(Path(path) / FILE):
        return None
    file, what = _file(path)
    with held(file, "model") as found:
        return Description.of(found.about, what).classes


def _arrays(found: Held, recipe: Recipe, what: str) -> dict[str, Tensor]:
    """The arrays of a model's file by the paths in its recipe; raises Refused for one that the recipe does not name."""
    paths, stored = named(recipe["process"]), [name for name in found if name.startswith(PROCESS)]
    for name in stored:
        if name.removeprefix(PROCESS) not in paths:
            raise Refused(f"{what} holds {name!r}, which the model does not have")
    read = {paths[name.removeprefix(PROCESS)]: found[name] for name in stored}
    finite(read, what)
    return {path: tensor.double() for path, tensor in read.items()}


def _file(path: Path | str) -> tuple[Path, str]:
    """The file in a run folder, or at the path itself, and what it is called; raises Refused if there is none."""
    if not isinstance(path, str | os.PathLike):
        raise Refused(f"the path of a run is a text or a Path, not {shown(path)}")
    path = Path(path)
    file = path / FILE if os.path.isdir(path) else path  # os.path, since a Path raises for names that no file has
    if not os.path.exists(path):
        raise Refused(f"there is no run at {path}")
    if not os.path.exists(file):
        raise Refused(
            f"{path} holds no model ({FILE}): training has not reached its first checkpoint, or this is no run folder"
        )
    return file, f"model {file}"
