"""Plug-ins: components in files outside the package. Each such file is imported as a module of this package."""

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from undiffuse.core.components import KINDS, files, key, kind_of
from undiffuse.core.errors import Refused

USED = "UNDIFFUSE_USE"  # the files in use: processes that this one starts use them as well


@dataclass(frozen=True)
class Plugin:
    """A component from a file outside the package."""

    kind: str
    name: str
    component: type
    file: Path

    @property
    def called(self) -> tuple[str, ...]:
        """Its class's name, see `key`."""
        return (key(self.component.__name__),)

    def load(self) -> type:
        """The class."""
        return self.component

    def constant(self, name: str, default: Any) -> Any:
        """What the body of its class assigns to a name, else the default."""
        return vars(self.component).get(name, default)


_TEXTS: dict[Path, bytes] = {}  # of the files in use
_FOUND: dict[type, Plugin] = {}
_INHERITED = [Path(file) for file in os.environ.get(USED, "").split(os.pathsep) if file]
__path__ = [str(path.parent) for path in _INHERITED]  # where what another process pickled is imported from


def use(file: str | os.PathLike[str]) -> None:
    """Register the components of a Python file outside the package, as if it stood in the folder of its kind.

    A component is a class that implements the interface of a kind.
    Its name is the file's, or, where the file holds several, the class's in snake case.
    A file that has changed since it was used is read again.
    Raises Refused for a file that cannot be read or run, that holds no component, or one whose name is taken.
    """
    path = Path(file).resolve()
    text = _read(path, file)
    if _TEXTS.get(path) == text:
        return
    other = next((used for used in _TEXTS if used.stem == path.stem and used != path), None)
    if other is not None:
        raise Refused(f"{path} has the name of {other}, which is in use: rename one of them")
    module = _module(path, text)
    found = list(_components(module, path))
    if not found:
        kinds = ", ".join(each.interface.rpartition(":")[2] for each in KINDS.values())
        raise Refused(f"{path} holds no component: a class that implements one of {kinds}")
    for each in found:
        _refuse_taken(each)
    _drop(path)
    _TEXTS[path] = text
    _FOUND.update({each.component: each for each in found})
    __path__.append(str(path.parent))
    os.environ[USED] = os.pathsep.join(map(str, _TEXTS))


def forget(file: str | os.PathLike[str]) -> None:
    """Take back `use`: the file's components are registered no more."""
    path = Path(file).resolve()
    _drop(path)
    sys.modules.pop(f"{__name__}.{path.stem}", None)


def in_use() -> list[Path]:
    """The files whose components are registered."""
    return list(_TEXTS)


def plugins(kind: str) -> Mapping[str, Plugin]:
    """Name -> plug-in, of the files in use here and in the process that started this one."""
    while _INHERITED:
        use(_INHERITED.pop(0))
    return {each.name: each for each in _FOUND.values() if each.kind == kind}


def plugin_of(component: type) -> Plugin | None:
    """What a class is registered as, if it is a plug-in."""
    return _FOUND.get(component)


def _drop(path: Path) -> None:
    if _TEXTS.pop(path, None) is None:
        return
    for component in [c for c, each in _FOUND.items() if each.file == path]:
        del _FOUND[component]
    __path__.remove(str(path.parent))
    os.environ[USED] = os.pathsep.join(map(str, _TEXTS))


def _read(path: Path, given: str | os.PathLike[str]) -> bytes:
    if path.suffix != ".py" or not path.is_file():
        what = "is no file" if path.suffix == ".py" else "is no file of Python, whose name ends in .py"
        raise Refused(f"{os.fspath(given)!r} {what}: name the file that holds your component, as my_sampler.py")
    if not path.stem.replace("-", "_").isidentifier():
        raise Refused(f"{path.name} gives no name: a component is named as its file, in letters, digits and _")
    return path.read_bytes()


def _module(path: Path, text: bytes) -> ModuleType:
    """The module of a file, once it has run; raises Refused, with the line, where it cannot."""
    name = f"{__name__}.{path.stem}"
    before = sys.modules.get(name)
    if before is not None and path not in _TEXTS and before.__file__ == str(path):  # for what another process pickled
        return before
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        exec(compile(text, str(path), "exec"), vars(module))  # noqa: S102 - a person asks for exactly this
    except Exception as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f"{path}, line {line}" if line else str(path)
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise Refused(f"{where}: {type(error).__name__}: {said}") from error
    return module


def _components(module: ModuleType, path: Path) -> Iterator[Plugin]:
    """The components in a module: classes of its own that are neither abstract nor private."""
    public = [c for n, c in vars(module).items() if inspect.isclass(c) and not n.startswith("_")]
    concrete = [c for c in public if c.__module__ == module.__name__ and not inspect.isabstract(c)]
    kinds = {c: kind for c in concrete if (kind := kind_of(c))}
    for component, kind in kinds.items():
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", component.__name__).lower()
        yield Plugin(kind, path.stem.replace("-", "_") if len(kinds) == 1 else snake, component, path)


def _refuse_taken(new: Plugin) -> None:
    """Raises Refused where a name of the component is one of another already."""
    others = {**files(new.kind), **{n: each for n, each in plugins(new.kind).items() if each.file != new.file}}
    taken = {key(name): name for other, each in others.items() for name in (other, *each.constant("aliases", ()))}
    named = "its file" if new.name == new.file.stem.replace("-", "_") else f"the class {new.component.__name__}"
    for name, what in ((new.name, named), *((alias, "this alias") for alias in new.constant("aliases", ()))):
        if key(name) in taken:
            raise Refused(f"{new.kind} has {taken[key(name)]!r} already, and {new.file} brings {name!r}: rename {what}")
