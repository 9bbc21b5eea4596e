"""The runs that a recipe names in its fields, such as a teacher or an autoencoder; each is opened once."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from undiffuse.core.errors import Refused
from undiffuse.core.registry import Runs
from undiffuse.recipes.bundled import names

BASE = "base.run"  # the field that names the run which another one stands on
# tables whose runs sampling needs: they travel inside the own file of a run
INSIDE = ("codec", "sampler", "prior", "conditions", "base", "chain")


@dataclass(frozen=True, eq=False)
class Uses:
    """Runs by the field that names them, `table.field`. open: makes a run of a folder; None: there is none to open.

    runs: those that are open; paths: where they were found.
    """

    open: Callable[[str], Any] | None = None
    runs: dict[str, Any] = field(default_factory=dict[str, Any])
    paths: dict[str, str] = field(default_factory=dict[str, str])

    def run(self, name: str, path: str) -> Any:
        """The run that the field of this name names; that of the base, where it holds one of this name. Raises Refused
        where it is not there.
        """
        if name not in self.runs and self.holds(name):
            return self.runs[BASE].recipe.uses.run(name, path)
        if name not in self.runs:
            if self.open is None:
                raise Refused(f"{name} = {path!r} is a run that this file does not hold")
            self.runs[name], self.paths[name] = self._opened(name, path), path
        return self.runs[name]

    def holds(self, name: str) -> bool:
        """Whether the run of this field is here, or in the base."""
        return name in self.runs or (BASE in self.runs and self.runs[BASE].recipe.uses.holds(name))

    def _opened(self, name: str, path: str) -> Any:
        assert self.open is not None
        try:
            return self.open(path)
        except Refused as error:
            recipe = os.path.basename(path)
            first = f"; train it first: undiffuse train {recipe} --out {quote(path)}"
            advice = first if recipe in names() and not os.path.exists(path) else ""
            raise Refused(f"{name} = {path!r}: {error}{advice}") from None

    def absolute(self) -> list[str]:
        """Settings that name the folders of the open runs from the root on."""
        plain = {name: path for name, path in self.paths.items() if not any(map(str.isdigit, name.split(".")))}
        return said_from_root(plain)

    def of(self, table: str) -> Runs:
        """Opens the runs of a table's fields, for `registry.build`."""

        def opened(name: str, path: str, interface: type) -> Any:
            return self.run(f"{table}.{name}", path).part(interface, f"{table}.{name} = {path!r}")

        return opened


def said_from_root(paths: Mapping[str, str]) -> list[str]:
    """Settings that name folders, by the fields that they are of, from the root on."""
    return [f"{name}={json.dumps(os.path.abspath(path))}" for name, path in paths.items()]
