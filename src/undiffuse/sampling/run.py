"""A run: whatever can be trained, saved, loaded and judged; a kind of run is one file in `models/`."""

import platform
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse import __version__
from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import devices, registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.latent_space import LatentSpace
from undiffuse.networks.precision import pick, place, place_checked
from undiffuse.recipes.arrays import named, with_arrays
from undiffuse.recipes.description import FORMAT, Described, Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.uses import INSIDE
from undiffuse.sampling import run_facts
from undiffuse.sampling.evaluation_request import Evaluated, EvaluationRequest
from undiffuse.storage.blueprint import Unwritten, sketch
from undiffuse.storage.files import write_json, write_tensors

FILE = "model.safetensors"  # weights, and in its header everything else: one file, so it is whole or absent
PROCESS = "process."  # before the names of what the files of the recipe's [process] hold
MERGED = "merged"  # the same of a run that was made of a base and a LoRA
LORA = "lora"  # of what a file of A and B says: the base that they are for, by its folder and its weights
CONTROLS = "controls"  # the fact of a model that is steered by runs which were asked for beside it
USES = "uses."  # before the names of the tensors of runs inside this one, and the field that names each
SUMMARY = "model.json"  # the header again, for people and other programs; never read
NEEDED = {LatentSpace: "an autoencoder", Denoiser: "a diffusion model"}  # what people call these interfaces


@dataclass(frozen=True, eq=False, repr=False)
class Run(Described, ABC):
    """Something trained with all that says what it is, see `Described`.

    module: what was trained. tables: the tables that a recipe of this kind may have; true: needs. made: the one that
    says what is trained. reads: what its network gives, predicts: what its objective trains it to give. what: the kind
    in words. use: what a person does next with the run in the folder {path}, {run} in a shell. denoises: whether it is
    a `DenoisingGenerator`; completes: a `CompletingGenerator`. reconstructs: whether it gives back what it is given.
    levelled: whether its module is a `DensityModel`, which says how likely an item's levels are. guides: whether its
    module is log p(condition given x_t) of its own condition, or as good as that, as `NoisyClassifier` and
    `ImageTextPair`; see `reads_noise`. steers: whether its module steers a frozen run, its base. inherits: tables of
    the base that it takes over. rounds: whether precision "auto" may be bfloat16. writes: files of its evaluation.
    """

    tables: ClassVar[Mapping[str, bool]]
    made: ClassVar[str] = "network"
    reads: ClassVar[str] = "data"
    predicts: ClassVar[str] = "data"
    what: ClassVar[str]
    use: ClassVar[str]
    denoises: ClassVar[bool] = False
    reconstructs: ClassVar[bool] = False
    completes: ClassVar[bool] = False
    levelled: ClassVar[bool] = False
    guides: ClassVar[bool] = False
    steers: ClassVar[bool] = False
    inherits: ClassVar[tuple[str, ...]] = ()
    rounds: ClassVar[bool] = True
    writes: ClassVar[tuple[str, ...]] = ()

    module: Any
    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    conditions: Mapping[str, ConditionKind] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    @abstractmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        """Raises Refused, naming the field, for what this kind cannot have; needs no data."""

    @classmethod
    def base_of(cls, recipe: Recipe) -> Any:
        """The run that such a run stands on, whose codec, conditions and tables it takes over; None: it stands alone.

        Raises Refused, naming the field, for a run that cannot be one.
        """
        return None

    @classmethod
    @abstractmethod
    def build(cls, about: Description) -> nn.Module:
        """What is trained, with its first weights; asked of only after `blueprint`, which says whether memory holds it.

        Inside `blueprint` its tensors have no memory: what it computes with, it makes on the CPU by name.
        """

    @classmethod
    def blueprint(cls, about: Description, **limits: Any) -> dict[str, Tensor]:
        """The tensors of what `build` makes of the same, by name, without memory; limits: see `storage.blueprint`."""
        return dict(cls.sketch(about, **limits).state_dict())

    @classmethod
    def sketch(cls, about: Description, **limits: Any) -> nn.Module:
        """What `build` makes, of tensors without memory; limits: see `blueprint`."""
        what = f"{cls.made} {str(about.recipe[cls.made].get('name'))!r}"
        return sketch(partial(cls.build, about), what, **limits)

    @classmethod
    def unwritten(cls, about: Description) -> nn.Module:
        """What `build` makes, with weights that nothing has written yet."""
        with torch.random.fork_rng(devices=[]), Unwritten():
            return cls.build(about)

    @classmethod
    def of(cls, module: Any, about: Description) -> Self:
        """The run that a module and a description are; raises Refused where they do not fit."""
        return cls(module, about.codec, about.shape, about.recipe, about.conditions, about.facts)

    @abstractmethod
    def attempt(self) -> None:
        """One call of what was trained, with noise; shows whether a precision suits it."""

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes | None:
        """A picture, as PNG, of what it makes, beside training items x with their conditions; None: there is none."""
        return None

    @abstractmethod
    def evaluate(self, asked: EvaluationRequest) -> Evaluated:
        """Say how good it is, on data that it was not trained on."""

    @abstractmethod
    def about(self) -> dict[str, str]:
        """Further rows of `undiffuse show`."""

    @property
    def uses(self) -> Mapping[str, "Run"]:
        """The runs that sampling needs, by the field of the recipe that names them: they travel in the run's file."""
        return {name: run for name, run in self.recipe.uses.runs.items() if name.partition(".")[0] in INSIDE}

    @property
    def stored(self) -> Mapping[str, "Run"]:
        """The runs that travel in the file: none of a LoRA's, whose base has them."""
        return {} if LORA in self.facts else self.uses

    def tree(self) -> dict[str, Any]:
        """The runs that it is made of, in words: those inside it, each with its own, and those it was trained with."""
        inside = {f"{name}, inside: {run}": run.tree() for name, run in self.uses.items()}
        others = {name: found for name, found in self.facts.get("runs", {}).items() if name not in self.uses}
        use = {"init.run": f"with a LoRA of rank {self.facts[MERGED]['rank']}"} if MERGED in self.facts else {}
        said = {
            name: f"{name}, {use.get(name, 'for training only')}: {found['path']}" for name, found in others.items()
        }
        return {**inside, **{each: {} for each in said.values()}}

    def part(self, interface: type, name: str) -> Any:
        """What of this run is of an interface: itself, what was trained, or its codec. name: of the field, for people.

        Raises Refused where nothing is.
        """
        found = next((each for each in (self, self.module, self.codec) if issubclass(type(each), interface)), None)
        if found is None:
            raise Refused(f"{name} holds {self.what}, and {NEEDED.get(interface, 'a ' + interface.__name__)} is needed")
        return found

    def next_step(self, folder: Path | str) -> str:
        """What a person does next with it in this folder, in words that can be typed."""
        return self.use.format(run=shlex.quote(str(folder)), path=folder)

    @property
    def description(self) -> Description:
        """All but the weights."""
        return Description(self.recipe, self.shape, self.conditions, self.codec, self.facts)

    @property
    def draws(self) -> bool:
        """Whether samples can be drawn from it, as from a `Generator`."""
        return False

    @property
    def reads_noise(self) -> bool:
        """Of one that guides: whether it knows noisy items; else it is asked of the clean guess."""
        return True

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(p.numel() for p in self.module.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    def __repr__(self) -> str:
        """What it is of, in a line."""
        return f"{type(self).__name__} of {', '.join(run_facts.of(self).values())}"

    def _repr_html_(self) -> str:
        """The same as a table, with its conditions."""
        return run_facts.html(self)

    def to(self, precision: str = "auto", device: torch.device | str | None = None) -> Self:
        """The same on a device, in a precision; the weights move, they are not copied.

        "auto" is bfloat16 where it pays, see `pick`, and where the network's output is the same then as in float32.
        Raises Refused for a device that the machine does not have, and for an unknown precision.
        """
        where = self.device if device is None else devices.device(device)
        dtype = pick(precision if self.rounds or precision != "auto" else "float32", where, self.module)
        if precision == "auto" and dtype is torch.bfloat16:
            place_checked(self.module, where, self.attempt)
        else:
            place(self.module, dtype, where)
        for run in self.uses.values():
            run.to(precision if run.rounds else "float32", where)
        return self

    def save(self, folder: Path | str) -> None:
        """Write it into a folder, each file whole or not at all; raises Refused for rounded weights, and controls."""
        if beside := self.facts.get(CONTROLS):
            what = f"the model has controls that were asked for beside it ({', '.join(beside)}), which no file holds"
            raise Refused(f"{what}: save the run itself, and ask for them anew, controlnet = {list(beside)}")
        folder, weights = Path(folder), self.tensors()
        rounded = [name for name, value in weights.items() if value.dtype in (torch.bfloat16, torch.float16)]
        if rounded:
            raise Refused(
                f"the weights were rounded to half precision ({rounded[0]}); load with precision='float32' to save"
            )
        about = self.describe()
        write_tensors(folder / FILE, weights, about)
        write_json(folder / SUMMARY, about)

    def tensors(self) -> dict[str, Tensor]:
        """The weights, what the files of the recipe's [process] hold, and those of the runs that sampling needs; of a
        LoRA A and B.
        """
        arrays = with_arrays(self.recipe).arrays
        process = {f"{PROCESS}{name}": arrays[path] for name, path in named(self.recipe["process"]).items()}
        inside = {
            f"{USES}{name}.{key}": each for name, run in self.stored.items() for key, each in run.tensors().items()
        }
        return {**self.module.state_dict(), **process, **inside}

    def describe(self) -> dict[str, Any]:
        """All but the weights, in JSON's types."""
        recipe = self.recipe
        return {
            "format": FORMAT,
            "shape": list(self.shape),
            "conditions": {name: self._condition(name) | each.described() for name, each in self.conditions.items()},
            "codec": self._codec(),
            "parameters": self.parameters,
            "recipe": {"kind": recipe.kind, "name": recipe.name, "about": recipe.about, "tables": recipe.tables},
            "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
            **({"uses": {name: run.describe() for name, run in self.stored.items()}} if self.stored else {}),
            **self.facts,
        }

    def _condition(self, name: str) -> dict[str, Any]:
        """The paths of the runs that a condition of the recipe names."""
        table = self.recipe["conditions"].get(name, {})
        return {field: path for field, path in table.items() if self.recipe.uses.holds(f"conditions.{name}.{field}")}

    def _codec(self) -> dict[str, Any]:
        """The codec's table with what it learned from the data; a run in it stays the path that the recipe names."""
        table = self.recipe["codec"]
        own = {name: getattr(self.codec, name) for name in registry.fields(type(self.codec))}
        runs = [name for name in own if self.recipe.uses.holds(f"codec.{name}")]
        return {"name": table["name"], **own, **{name: table[name] for name in runs}}
