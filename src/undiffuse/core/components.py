"""The kinds of components, and the files of the package that hold them, read without importing them."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Kind:
    """Where the components of a kind are. packages: folders of the package, one file a component. interface: the class
    that they implement, `module:Class`. suffix: what a class's name may have behind its file's. may_be_run: whether a
    run folder may stand for a component of the kind, as a field of another one. also: further interfaces, which runs
    alone have. default: the component where none is named.
    """

    packages: tuple[str, ...]
    interface: str
    suffix: str
    may_be_run: bool = False
    default: str = ""
    also: tuple[str, ...] = ()

    def runs_alone(self, interface: type) -> bool:
        """Whether runs alone have this interface: what names one is a folder, whatever it is called."""
        return f"{interface.__module__}:{interface.__name__}" in self.also


KINDS = {
    "schedules": Kind(("schedules",), "undiffuse.core.schedule:Schedule", "Schedule"),
    "parameterizations": Kind(
        ("parameterizations",), "undiffuse.core.parameterization:Parameterization", "Parameterization"
    ),
    "grids": Kind(("grids",), "undiffuse.core.grid:Grid", "Grid"),
    "time_distributions": Kind(
        ("time_distributions",), "undiffuse.core.time_distribution:TimeDistribution", "TimeDistribution"
    ),
    "samplers": Kind(("samplers",), "undiffuse.core.sampler:Sampler", "Sampler"),
    "guidance": Kind(("guidance",), "undiffuse.core.denoiser:Denoiser", "Guidance", may_be_run=True),
    "feature_networks": Kind(
        ("feature_networks",), "undiffuse.core.feature_network:FeatureNetwork", "Layers", may_be_run=True
    ),
    "networks": Kind(("networks",), "undiffuse.core.network:Network", "Network"),
    "objectives": Kind(("objectives",), "undiffuse.core.objective:Objective", "Objective"),
    "bottlenecks": Kind(("bottlenecks",), "undiffuse.core.bottleneck:Bottleneck", "Bottleneck"),
    "level_heads": Kind(("level_heads",), "undiffuse.core.level_head:LevelHead", "Head"),
    "losses": Kind(("losses",), "undiffuse.core.reconstruction_loss:ReconstructionLoss", "Loss"),
    "scenes": Kind(("scenes",), "undiffuse.rendering.renderable:Renderable", "Scene"),
    "optimisers": Kind(("optimisers",), "undiffuse.core.optimiser:Optimiser", "Optimiser"),
    "codecs": Kind(("codecs",), "undiffuse.codecs.codec:Codec", "Codec", may_be_run=True),
    "conditions": Kind(("conditions",), "undiffuse.conditions.condition_kind:ConditionKind", "Condition"),
    "operators": Kind(("operators",), "undiffuse.core.operator:Operator", "Operator"),
    "data": Kind(("data.sources", "data.toys"), "undiffuse.data.source:Source", "Data"),
    "features": Kind(("evaluation.features",), "undiffuse.evaluation.features.features:Features", "Features"),
    "models": Kind(
        ("models",),
        "undiffuse.sampling.run:Run",
        "Run",
        may_be_run=True,
        default="diffusion",
        also=(
            "undiffuse.core.latent_space:LatentSpace",
            "undiffuse.core.item_reader:ItemReader",
            "undiffuse.core.text_encoder:TextEncoder",
            "undiffuse.core.item_encoder:ItemEncoder",
            "undiffuse.core.image_encoder:ImageEncoder",
        ),
    ),
    "pipelines": Kind(("conversion.pipelines",), "undiffuse.conversion.pipeline:Pipeline", "Pipeline"),
    "metrics": Kind(("evaluation.metrics",), "undiffuse.evaluation.metrics.metric:Metric", "Metric"),
}


@dataclass(frozen=True)
class ComponentFile:
    """A file of the package that holds a component. called: what its class may be called, see `key`."""

    path: Path
    module: str
    called: tuple[str, ...]

    def load(self) -> type:
        """The class; imports the file."""
        return _loaded(self)

    def constant(self, name: str, default: Any) -> Any:
        """A literal that the body of its class assigns to a name, else the default; read, not imported."""
        body = _body(self) if f"    {name}" in _text(self.path) else ()
        found = next(filter(None, (_assigned(statement, name) for statement in body)), None)
        return default if found is None else ast.literal_eval(found)


def as_aliases(names: Sequence[str] | Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Other names, each with the fields that it sets: a tuple of names sets none, a mapping says them."""
    return {name: dict(names[name]) if isinstance(names, Mapping) else {} for name in names}


@lru_cache(maxsize=4096)
def key(name: str) -> str:
    """What makes two spellings one name: neither case nor `-`, `_` and spaces matter, and `+` is `p`."""
    return name.translate({ord("_"): None, ord("-"): None, ord(" "): None, ord("+"): "p"}).lower()


def called(kind: str, stem: str) -> tuple[str, str]:
    """What the class of a file may be called: as the file, or with the kind's suffix."""
    return key(stem), key(stem + KINDS[kind].suffix)


@cache
def files(kind: str) -> Mapping[str, ComponentFile]:
    """Name -> file of the package's components of a kind; the folder is read, no file is imported."""
    found: dict[str, ComponentFile] = {}
    for folder in KINDS[kind].packages:
        for info in pkgutil.iter_modules([str(PACKAGE.joinpath(*folder.split(".")))]):
            path = PACKAGE.joinpath(*folder.split("."), f"{info.name}.py")
            each = ComponentFile(path, f"undiffuse.{folder}.{info.name}", called(kind, info.name))
            if not info.name.startswith("_") and path.exists() and _declares(path, each.called):
                found[info.name] = each
    return found


def kind_of(component: type) -> str | None:
    """The kind whose interface a class is or implements; None for any other class."""
    implemented = {f"{base.__module__}:{base.__qualname__}" for base in component.__mro__}
    return next((kind for kind, each in KINDS.items() if implemented & {each.interface, *each.also}), None)


def _declares(file: Path, called: Collection[str]) -> bool:
    """Whether the file has a concrete class of its own name that implements something.

    An interface lives in such a file too, but is abstract; a value that components share has no base.
    """
    text = _text(file)
    lines = [line for line in text.splitlines() if line.startswith("class ")]
    heads = {key(line[6:].split("(")[0].split(":")[0].strip()): line for line in lines}
    head = next((heads[name] for name in called if name in heads), "(ABC)")
    return "ABC)" not in head and "(" in head


@cache
def _loaded(file: ComponentFile) -> type:
    """The class of a component's file; imports it."""
    module = importlib.import_module(file.module)
    own = {key(n): c for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == file.module}
    return next(own[name] for name in file.called if name in own)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _body(file: ComponentFile) -> Sequence[ast.stmt]:
    """The statements of the class of a component's file; read, not imported."""
    classes = [node for node in ast.parse(_text(file.path)).body if isinstance(node, ast.ClassDef)]
    return next((node.body for node in classes if key(node.name) in file.called), ())


def _assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    """What a statement of a class's body assigns to a name."""
    if not isinstance(statement, ast.AnnAssign | ast.Assign):
        return None
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return statement.value if any(isinstance(t, ast.Name) and t.id == name for t in targets) else None
