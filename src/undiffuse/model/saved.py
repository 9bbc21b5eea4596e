"""What a run folder holds, whatever was trained: weights, the codec at their edges, the recipe that made them."""

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from undiffuse import __version__
from undiffuse.codecs.codec import Codec
from undiffuse.core.errors import Refused
from undiffuse.model import parts
from undiffuse.model.arrays import named, with_arrays
from undiffuse.model.blueprint import TENSORS, Unwritten
from undiffuse.model.description import FORMAT, Description
from undiffuse.model.files import finite, fit, write_json, write_tensors
from undiffuse.model.held import Held, held
from undiffuse.model.labelled import is_classifier
from undiffuse.model.precision import pick, place
from undiffuse.model.recipe import Recipe
from undiffuse.model.settings import Condition

FILE = "model.safetensors"  # weights, and in its header everything else: one file, so it is whole or absent
PROCESS = "process."  # before the names of what the files of the recipe's [process] hold
SUMMARY = "model.json"  # the header again, for people and other programs; never read


class Saved(ABC):
    """Something trained with all that says what it is; written to a run folder and read back by `opened`.

    shape: of one encoded sample, channels first. classes: names of the labels. conditions: of the data that it was
    trained with, by name. facts: the step, the data's summary, library versions ... in JSON's types.
    """

    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    classes: tuple[str, ...]
    conditions: Mapping[str, Condition]
    facts: Mapping[str, Any]

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What was trained."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    def to(self, precision: str = "auto", device: torch.device | str | None = None) -> Self:
        """The same on a device, in a precision; the weights move, they are not copied."""
        where = torch.device(device or self.device)
        place(self.module, pick(precision, where, self.module), where)
        return self

    def save(self, folder: Path | str) -> None:
        """Write it into a folder, each file whole or not at all; raises Refused for rounded weights."""
        folder, weights = Path(folder), dict(self.module.state_dict())
        rounded = [name for name, value in weights.items() if value.dtype in (torch.bfloat16, torch.float16)]
        if rounded:
            raise Refused(
                f"the weights were rounded to half precision ({rounded[0]}); load with precision='float32' to save"
            )
        about, arrays = self.describe(), with_arrays(self.recipe).arrays
        for field, path in named(self.recipe["process"]).items():
            weights[f"{PROCESS}{field}"] = arrays[path]
        write_tensors(folder / FILE, weights, about)
        write_json(folder / SUMMARY, about)

    def describe(self) -> dict[str, Any]:
        """All but the weights, in JSON's types."""
        variance = getattr(self, "variance", {})
        return {
            "format": FORMAT,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "conditions": {name: condition.described() for name, condition in self.conditions.items()},
            "codec": {"name": self.recipe["codec"]["name"], **asdict(self.codec)},  # pyright: ignore[reportArgumentType]
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "recipe": {"name": self.recipe.name, "about": self.recipe.about, "tables": self.recipe.tables},
            "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
            **({"variance": dict(variance)} if variance else {}),
            **self.facts,
        }


def is_classifier_run(path: Path | str) -> bool:
    """Whether a run folder holds a classifier of noisy samples, and no model; raises Refused if it holds neither."""
    file, what = _file(path)
    with held(file, "model") as found:
        return is_classifier(Description.of(found.about, what).recipe)


def opened(path: Path | str, *, classifier: bool) -> tuple[nn.Module, Description]:
    """What a run folder holds, with the averaged weights, on the CPU: a classifier if one is asked for, else a model.

    Runs no code from the folder, and takes memory only once the file is known to hold what its recipe's network needs.
    Raises Refused if there is nothing whole, or the other of the two.
    """
    file, what = _file(path)
    with held(file, "model") as found:
        said = Description.of(found.about, what)
        said = replace(said, recipe=replace(said.recipe, arrays=_arrays(found, said.recipe, what)))
        if is_classifier(said.recipe) != classifier:
            raise Refused(
                f"{path} holds a model of samples, and no classifier that could guide one: train one with a recipe "
                "such as digits-classifier"
                if classifier
                else f"{path} holds a classifier of noisy samples, which draws none: it guides a model, by "
                f"`undiffuse sample MODEL --classifier {path}`, and `undiffuse evaluate` measures it"
            )
        classes = len(said.classes) if "label" in said.conditions else 0
        # a network may have more than it saves, but not much
        most = (min(len(found) + 1000, TENSORS), found.nbytes + 2**30)
        of = (said.recipe, said.shape, classes, said.codec)
        like = {name: tensor for name, tensor in found.like.items() if not name.startswith(PROCESS)}
        fit(like, parts.blueprint(*of, *most, told=said.conditions), what)
        with torch.random.fork_rng(devices=[]), Unwritten():
            build = parts.classifier if classifier else parts.predictor
            module = build(*of, said.conditions)
        for name, place in module.state_dict().items():
            finite({name: (read := found[name])}, what)
            place.copy_(read)
    return module.eval().requires_grad_(False), said


def arrays(path: Path | str) -> dict[str, Tensor]:
    """What the files that a run's recipe names held, by their paths; nothing where no model is whole yet."""
    if not os.path.exists(Path(path) / FILE):
        return {}
    file, what = _file(path)
    with held(file, "model") as found:
        return _arrays(found, Description.of(found.about, what).recipe, what)


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
    path = Path(path)
    file = path / FILE if os.path.isdir(path) else path  # os.path, since a Path raises for names that no file has
    if not os.path.exists(path):
        raise Refused(f"there is no run at {path}")
    if not os.path.exists(file):
        raise Refused(
            f"{path} holds no model ({FILE}): training has not reached its first checkpoint, or this is no run folder"
        )
    return file, f"model {file}"
