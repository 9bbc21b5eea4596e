"""What messages advise can be pasted: a setting is printed as it is typed, `--set data.size=32`."""

import ast
import re
from pathlib import Path

import pytest

from undiffuse.core import registry
from undiffuse.recipes.recipe import TABLES
from undiffuse.recipes.settings import Train

SOURCE = Path(__file__).parents[1] / "src" / "undiffuse"
FOLDERS = ("cli", "codecs", "data", "jobs", "networks", "training", "tuning")
FIELD = rf"(?:{'|'.join(TABLES)})(?:\.\w+)+=\S*"
OWN = {field for name in registry.names("data") for field in registry.fields(registry.get("data", name))}
BARE = rf"(?<![\w.\"'({{-])(?:{'|'.join(sorted((OWN | set(Train.__dataclass_fields__)) - {'count'}))})=(?!=)"


def texts(file: Path) -> list[str]:
    """Every text that the code of a file may print, with `X` for what is put in."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    quiet = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            quiet |= {id(part) for part in node.values}
            found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in quiet:
            found.append(node.value)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_settings_are_printed_as_they_are_typed(folder: str):
    wrong: list[str] = []
    for file in sorted((SOURCE / folder).glob("*.py")):
        for text in texts(file):
            words = re.sub(rf"--set(?: {FIELD})+(?: or {FIELD})?", "", text)  # as they are typed
            alone = re.fullmatch(rf"(?:X|{FIELD})(?: {FIELD})*", text)  # put together elsewhere
            if not alone and (re.search(FIELD, words) or (len(text.split()) > 3 and re.search(BARE, words))):
                wrong.append(f"{file.relative_to(SOURCE)}: {text}")
    assert not wrong, "\n".join(wrong)
