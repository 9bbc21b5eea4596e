"""Imports run only downward, so that any part can be understood, tested and replaced without what stands on it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from undiffuse.core import registry

SOURCE = Path(__file__).parents[1] / "src" / "undiffuse"
ROWS = [
    {"core"},
    {"oracles"},  # the core's, under the name that people import
    {"progress", "storage"},
    {"schedules", "parameterizations", "grids", "time_distributions", "operators", "feature_networks", "rendering"},
    {
        "networks",
        "scenes",
        "samplers",
        "guidance",
        "codecs",
        "likelihood",
        "pictures",
        "optimisers",
        "bottlenecks",
        "level_heads",
    },
    {"losses", "level_heads"},
    {"objectives"},
    {"conditions"},
    {"recipes"},
    {"sampling"},
    {"data"},
    {"evaluation", "editing"},
    {"reports"},
    {"models"},
    {"training", "conversion"},
    {"tuning"},
    {"cli"},
]
HEIGHT = {part: height for height, row in enumerate(ROWS) for part in row}


def parts() -> list[str]:
    found = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in SOURCE.rglob("*.py")}
    return sorted(found - {"__init__", "__main__"})


@dataclass(frozen=True)
class Code:
    """What the tests ask of a file, without the rest of its syntax tree."""

    docstring: str
    classes: list[str]
    nodes: Sequence[ast.AST]  # imports, comparisons and calls of something's `build`


@cache
def code(file: Path) -> Code:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Compare)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "build")
    ]
    return Code(ast.get_docstring(tree) or "", [n.name for n in tree.body if isinstance(n, ast.ClassDef)], nodes)


def imported(file: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, names after the package's) for every import from the package, wherever in the file it stands."""
    package = ["undiffuse", *file.relative_to(SOURCE).parent.parts]
    for node in code(file).nodes:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) + 1 - node.level] if node.level else []
            stem = ".".join([*parent, *([node.module] if node.module else [])])
            targets = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for words in (target.split(".") for target in targets):
            if words[0] == "undiffuse" and len(words) > 1 and words[1] != "__version__":
                yield node.lineno, tuple(words[1:])


@pytest.mark.each("part", parts())
def test_imports_run_only_downward(part: str):
    files = [SOURCE / f"{part}.py"] if (SOURCE / f"{part}.py").exists() else sorted((SOURCE / part).rglob("*.py"))
    assert part in HEIGHT, f"{part} has no place in the order of imports"
    wrong = [
        f"{file.relative_to(SOURCE)}:{line} imports {other}"
        for file in files
        for line, (other, *_) in imported(file)
        if other != part and HEIGHT.get(other, len(ROWS)) >= HEIGHT[part]
    ]
    assert not wrong, wrong


def test_no_file_imports_itself_by_way_of_others():
    """Also where only types are imported. The files that list what is in a package are left out."""
    files = {file.relative_to(SOURCE).with_suffix("").parts: file for file in SOURCE.rglob("*.py")}
    waits = {
        name: {each for _, names in imported(file) for each in (names, names[:-1])} & files.keys()
        for name, file in files.items()
        if name[-1] != "__init__"
    }
    while ready := [name for name, others in waits.items() if not others & waits.keys()]:
        waits = {name: others for name, others in waits.items() if name not in ready}
    assert not waits, f"these import one another: {sorted('.'.join(name) for name in waits)}"


def test_no_file_asks_which_kind_a_run_is_of():
    """A kind of run is its file in `models/`: nothing else imports it, or compares a kind with its name."""
    named: list[str] = []
    for file in sorted(SOURCE.rglob("*.py")):
        own = file.stem if file.parent == SOURCE / "models" else ""
        others = set(registry.names("models")) - {own}
        modules = {f"undiffuse.models.{name}" for name in others}
        for node in code(file).nodes:
            imports = isinstance(node, ast.ImportFrom) and node.module in modules and file != SOURCE / "__init__.py"
            parts = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            said = {part.value for part in parts if isinstance(part, ast.Constant)}
            about_kind = any(isinstance(part, ast.Attribute) and part.attr == "kind" for part in parts)
            if imports or (about_kind and said & others):
                named.append(f"{file.relative_to(SOURCE)}:{node.lineno}")  # type: ignore[attr-defined]
    assert not named, named


def test_no_file_outside_the_kinds_asks_which_kind_a_condition_has():
    asking = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in sorted(SOURCE.rglob("*.py"))
        if file.parent.name != "conditions"
        for node in code(file).nodes
        if isinstance(node, ast.Compare)
        and any(isinstance(part, ast.Attribute) and part.attr in ("kind", "form") for part in ast.walk(node))
        and any(isinstance(p, ast.Constant) and p.value in registry.names("conditions") for p in ast.walk(node))
    ]
    assert not asking


def test_the_tables_of_a_recipe_are_resolved_in_one_place():
    """What a table of a recipe stands for is built by `Recipe.component` alone, which keeps it."""
    wrong = [
        f"{file.relative_to(SOURCE)}:{node.lineno}"
        for file in sorted(SOURCE.rglob("*.py"))
        if file != SOURCE / "recipes" / "recipe.py"
        for node in code(file).nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "registry.build"
        for table in node.args[1:]
        if isinstance(table, ast.Subscript) and ast.unparse(table.value) in ("recipe", "self.recipe", "model.recipe")
    ]
    assert not wrong, wrong


def test_a_file_says_what_it_is_in_its_first_line():
    silent = [
        str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py") if not code(file).docstring.splitlines()[:1]
    ]
    assert not silent, silent


def test_what_is_imported_is_what_is_installed():
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[<>=\[]", requirement)[0].lower() for requirement in project["dependencies"]}
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    optional = {re.split(r"[<>=\[]", requirement)[0].lower() for requirement in extras}
    text = "\n".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    modules = set(re.findall(r"^\s*(?:from|import) ([A-Za-z]\w*)", text, re.MULTILINE)) - sys.stdlib_module_names
    owners = packages_distributions()
    used = {owner.lower().replace("_", "-") for module in modules for owner in owners.get(module, [])} - {"undiffuse"}
    assert used <= declared | optional, f"imported but no dependency: {used - declared - optional}"
    assert declared - used == {"tensorboard"}  # torch imports it
    first = set(re.findall(r"^(?:from|import) ([A-Za-z]\w*)", text, re.MULTILINE))
    always = {owner.lower().replace("_", "-") for module in first for owner in owners.get(module, [])}
    assert not always & (optional - declared), "what is optional is imported where it is used"


def test_a_class_name_stands_once():
    """`Moments` here and `Moments` there would be told apart by their import alone."""
    found: dict[str, list[str]] = {}
    for file in SOURCE.rglob("*.py"):
        for name in code(file).classes:
            if not name.startswith("_"):
                found.setdefault(name, []).append(str(file.relative_to(SOURCE)))
    twice = {name: files for name, files in found.items() if len(files) > 1}
    assert not twice, twice
