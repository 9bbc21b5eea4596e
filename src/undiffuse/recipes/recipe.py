"""A recipe: every choice of a training run, one TOML table a component."""

import logging
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as default
from pathlib import Path
from typing import Any, cast

import tomli_w

from undiffuse.core import registry
from undiffuse.core.arguments import shown
from undiffuse.core.components import KINDS
from undiffuse.core.errors import Refused, unknown
from undiffuse.recipes.bundled import BUNDLED, names
from undiffuse.recipes.uses import Uses
from undiffuse.storage.files import read_text, write_text
from undiffuse.storage.strict_json import refuse_deep

FILE = "recipe.toml"
DEFAULT = KINDS["models"].default
TABLES = (
    "data",
    "codec",
    "process",
    "schedule",
    "network",
    "text_network",
    "head",
    "bottleneck",
    "scene",
    "prior",
    "chain",
    "base",
    "control",
    "parameterization",
    "denoiser",
    "objective",
    "optimiser",
    "conditions",
    "sampler",
    "init",
    "train",
)
KIND = {  # of the component that a table describes
    "data": "data",
    "codec": "codecs",
    "schedule": "schedules",
    "network": "networks",
    "text_network": "networks",
    "head": "level_heads",
    "bottleneck": "bottlenecks",
    "scene": "scenes",
    "parameterization": "parameterizations",
    "objective": "objectives",
    "sampler": "samplers",
}
LIMIT = 2**20  # bytes; a recipe is written by hand
CHAIN = re.compile(
    r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){32}"""
)  # a.b.c ...: takes a TOML parser quadratic time


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training run.

    tables: the TOML file's tables: `name` picks a component, the other keys are that component's own fields.
    name: the file's name without .toml. about: one line for people. kind: of the run that it trains.
    arrays: what files that it names hold, by their paths, once they were read: they travel with a model, so that the
    files need not be there any more. uses: the runs that it names. home: the run folder that it was read from.
    """

    name: str
    tables: Mapping[str, Any]
    about: str = ""
    kind: str = DEFAULT
    arrays: Mapping[str, Any] = default(default_factory=dict, compare=False, repr=False)
    uses: Uses = default(default_factory=Uses, compare=False, repr=False)
    home: Path | None = default(default=None, compare=False, repr=False)
    _built: dict[str, Any] = default(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def find(cls, which: "str | Path | Mapping[str, Any] | Recipe") -> "Recipe":
        """The recipe of this name, in this file, in this run folder, or made of these tables.

        A name is that of a recipe, also where a run folder here is called so: that one is meant by a path, "./digits".
        Raises Refused if there is none (naming the nearest), or if the file is not TOML or has unknown tables.
        """
        if isinstance(which, Recipe):
            return which
        if isinstance(which, Mapping):
            return cls.of("run", which)
        if not isinstance(which, str | Path):
            raise Refused(f"recipe is a name, a file, a run folder or tables, not {shown(which)}")
        path = Path(which)
        if isinstance(which, str) and which in names():
            if is_run(path):
                logging.getLogger("undiffuse").warning(
                    "%s is the recipe of this name, not the run folder here, which is ./%s", which, which
                )
            return cls.of(which, parse(BUNDLED / f"{which}.toml"))
        if is_run(path):
            return replace(cls.of(path.resolve().name, parse(path / FILE)), home=path.absolute())
        if os.path.isdir(path):  # a Path would raise for names that no file has
            raise Refused(f"{path} is no run folder: it has no {FILE}")
        if len(path.parts) > 1 and path.suffix != ".toml" and not os.path.exists(path):
            raise Refused(f"there is no run and no recipe at {path}")
        if path.suffix == ".toml" or len(path.parts) > 1:
            return cls.of(path.stem, parse(path))
        raise unknown("recipes", str(which), names())

    @classmethod
    def of(cls, name: str, content: Mapping[str, Any]) -> "Recipe":
        """A recipe of these tables.

        A component's other name becomes its own. Raises Refused for a table that no recipe has, for one that is
        missing, for a name that is no file's, and for values that TOML and JSON do not share or that are nested too
        deep.
        """
        if name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise Refused(f"a recipe is named as a file could be, without a folder: not {name!r}")
        about, kind = content.get("about", ""), str(content.get("kind", DEFAULT))
        tables = {k: v for k, v in content.items() if k not in ("about", "kind")}
        known: Mapping[str, bool] = cast(Any, registry.get("models", kind)).tables
        for table, fields in tables.items():
            if table not in TABLES and table not in known:
                raise unknown("a recipe", str(table), known)
            if not isinstance(fields, Mapping):
                raise Refused(
                    f"{table} is a table of a recipe: write [{table}] and its fields below, not {table} = {fields!r}"
                )
            if table not in known:
                raise Refused(
                    f"a recipe of kind {kind!r} has no table [{table}]: leave it out; it may have {', '.join(known)}"
                )
        needed = [table for table, need in known.items() if need]
        for table in needed:
            if table not in tables:
                raise Refused(f"recipe {name!r} has no table [{table}]; it needs {', '.join(needed)}")
        try:
            refuse_deep([content])
        except ValueError as error:
            raise Refused(f"recipe {name!r} cannot be read: {error}") from None
        found = {table: tables[table] for table in (*TABLES, *known) if table in tables}
        found |= {table: registry.canonical(KIND[table], fields) for table, fields in found.items() if table in KIND}
        return cls(name, _plain(found), str(about), kind)

    def __getitem__(self, table: str) -> dict[str, Any]:
        return dict(self.tables.get(table, {}))

    def component(self, table: str) -> Any:
        """The component that a table stands for, built once; raises Refused, naming the field, where it is none."""
        if table not in self._built:
            self._built[table] = registry.build(KIND[table], self[table], runs=self.uses.of(table))
        return self._built[table]

    def module(self, table: str, **given: Any) -> Any:
        """The component with weights that a table stands for, made anew each time. given: see `registry.build`."""
        return registry.build(KIND[table], self[table], runs=self.uses.of(table), **given)

    def override(self, settings: Sequence[str]) -> "Recipe":
        """The recipe with fields replaced: `train.steps=2000`, `objective.times.mean=-1`, `data.name=folder`.

        A value is read as TOML, else as text. Another `name` drops the fields of the component that was there before.
        Raises Refused for a setting without `=` or a table, and for an unknown table.
        """
        pairs = [setting(text) for text in settings]
        tables = {"kind": self.kind, **_plain(self.tables)}
        for path, value in sorted(pairs, key=lambda pair: pair[0][-1] != "name"):  # names first: they clear their table
            if path[0] not in TABLES and path[0] not in tables:
                raise unknown("a recipe", path[0], TABLES)
            put(tables, path, value)
        made = Recipe.of(self.name, {"about": self.about, **tables})
        return replace(made, arrays=self.arrays, uses=self.uses, home=self.home)

    def with_tables(self, **tables: Mapping[str, Any]) -> "Recipe":
        """The recipe with whole tables replaced."""
        made = Recipe.of(self.name, {"about": self.about, "kind": self.kind, **self.tables, **tables})
        return replace(made, arrays=self.arrays, uses=self.uses, home=self.home)

    def difference(self, other: "Recipe", but: Sequence[str] = ()) -> tuple[str, Any, Any] | None:
        """The first field that differs, its value here and there (None: absent); `but` names fields that may."""
        mine, theirs = dict(_flat(self.tables)), dict(_flat(other.tables))
        for field in [*mine, *theirs]:
            if field not in but and mine.get(field) != theirs.get(field):
                return field, mine.get(field), theirs.get(field)
        return None

    def to_toml(self) -> str:
        """The recipe as a TOML file's text."""
        kind = {"kind": self.kind} if self.kind != DEFAULT else {}
        return tomli_w.dumps({**({"about": self.about} if self.about else {}), **kind, **self.tables})

    def save(self, folder: Path) -> None:
        """Write recipe.toml into a run folder, whole or not at all."""
        write_text(folder / FILE, self.to_toml())


def is_run(path: Path) -> bool:
    """Whether this is a run folder; of a name that no file can have, it is not."""
    return os.path.isdir(path) and os.path.exists(path / FILE)


def parse(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises Refused where it is none."""
    try:
        return _toml(read_text(path, "recipe", LIMIT))
    except (ValueError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"recipe {path} is not TOML: {error}") from error


def _toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text; raises ValueError or RecursionError if it is none."""
    if CHAIN.search(text):
        raise ValueError("it has a name of more than 32 parts")
    return tomllib.loads(text)


def setting(text: str) -> tuple[list[str], Any]:
    """`table.field=value` as (["table", "field"], value)."""
    left, equals, right = text.partition("=")
    path = [part.strip() for part in left.split(".")]
    if not equals or (len(path) < 2 and path != ["kind"]) or not all(path):
        raise Refused(f"cannot read the setting {text!r}; write table.field=value, for example train.steps=2000")
    try:
        return path, _toml(f"value = {right}")["value"]
    except (ValueError, RecursionError):
        return path, right.strip()


def put(tables: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set one field, in place; a component given by its bare name becomes a table, and a new name empties its table."""
    inner = tables
    for key in path[:-1]:
        below = inner.setdefault(key, {})
        if not isinstance(below, dict):
            below = inner[key] = {"name": below}
        inner = below
    if path[-1] == "name" and inner.get("name") != value:
        inner.clear()
    inner[path[-1]] = value


def _plain(value: Any, where: str = "") -> Any:
    """A copy made of dictionaries, lists and plain values only; fields without a value are left out.

    Raises Refused for what TOML and JSON do not share: dates, numbers that are not finite, integers beyond 64 bits.
    """
    if isinstance(value, Mapping):
        inside = {str(key): inner for key, inner in value.items() if inner is not None}
        return {key: _plain(inner, f"{where}.{key}" if where else key) for key, inner in inside.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, where) for inner in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, str | int | float):
        raise Refused(f"{where} = {value}: a recipe holds texts, numbers, true and false, lists and tables")
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused(f"{where} = {value}: a recipe's numbers are finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Refused(f"{where} has {value.bit_length()} bits, and 64 are the most")
    return value


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("table.field", value) for every field."""
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
