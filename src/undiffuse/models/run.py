"""What a run folder holds, whatever was trained: weights, the codec at their edges, the recipe that made them."""

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from undiffuse import __version__
from undiffuse.codecs.codec import Codec
from undiffuse.core import devices
from undiffuse.core.arguments import shown
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.models.description import FORMAT, Description
from undiffuse.networks.precision import pick, place, place_checked
from undiffuse.recipes import build
from undiffuse.recipes.arrays import named, with_arrays
from undiffuse.recipes.classifier_recipe import is_classifier
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.settings import Condition
from undiffuse.sampling.samples import kind, size
from undiffuse.storage.blueprint import TENSORS, Unwritten
from undiffuse.storage.files import finite, fit, write_json, write_tensors
from undiffuse.storage.tensor_file import Held, held

FILE = "model.safetensors"  # weights, and in its header everything else: one file, so it is whole or absent
NAMES = 20  # classes that are named in a notebook
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

    def __repr__(self) -> str:
        """What it is of, in a line."""
        return f"{type(self).__name__} of {', '.join(f'{value}' for value in self._facts().values())}"

    def _repr_html_(self) -> str:
        """The same as a table, with what it is told."""
        told = {f"told: {name}": condition.kind for name, condition in self.conditions.items()}
        listed = {"class names": ", ".join(self.classes[:NAMES]) + " ..." * (len(self.classes) > NAMES)}
        rows = self._facts() | (listed if self.classes else {}) | told
        return (
            "<table>"
            + "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items())
            + "</table>"
        )

    def _facts(self) -> dict[str, str]:
        """What a person wants to see of it first."""
        name = self.facts.get("data", {}).get("name", self.recipe.name)
        what = kind(self, len(self.shape))
        classes = {"classes": f"{len(self.classes)} classes"} if self.classes else {}
        steps = {"steps": f"{self.facts['step']:,} steps"} if "step" in self.facts else {}
        parameters = sum(p.numel() for p in self.module.parameters())
        return {
            "data": f"{name}",
            "samples": f"{what} of {size(what, self.shape)}",
            **classes,
            "parameters": f"{parameters:,} parameters",
            **steps,
            "recipe": f"recipe {self.recipe.name}",
            "device": f"on {self.device}",
        }

    def to(self, precision: str = "auto", device: torch.device | str | None = None) -> Self:
        """The same on a device, in a precision; the weights move, they are not copied.

        "auto" is bfloat16 where it pays, see `pick`, and where the network's output is the same then as in float32.
        Raises Refused for a device that the machine does not have, and for an unknown precision.
        """
        where = self.device if device is None else devices.device(device)
        dtype = pick(precision, where, self.module)
        if precision == "auto" and dtype is torch.bfloat16:
            place_checked(self.module, where, self._attempt)
        else:
            place(self.module, dtype, where)
        return self

    def _attempt(self) -> None:
        """One call of what was trained, with noise."""
        module: Any = self.module
        shape = getattr(module, "state_shape", tuple)((1, *self.shape))
        noise = module.process.prior(shape).sample(Random(0))
        module(to(noise, self.device), 1.0)

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
        held_arrays = _arrays(found, said.recipe, what)
        said = replace(said, recipe=replace(said.recipe, arrays=held_arrays, home=file.parent.absolute()))
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
        fit(like, build.blueprint(*of, *most, told=said.conditions), what)
        with torch.random.fork_rng(devices=[]), Unwritten():
            make = build.classifier if classifier else build.predictor
            module = make(*of, said.conditions)
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
