"""`undiffuse show`: what a run folder or a recipe holds."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument

from undiffuse.cli.terminal import console, count


def show(
    which: Annotated[
        str, Argument(metavar="RUN|RECIPE", help="A run folder, the name of a recipe, or a recipe's file.")
    ],
) -> None:
    """Show a run or a recipe. Of a run its model, its progress and its numbers; of a recipe every choice it makes."""
    from rich.syntax import Syntax

    from undiffuse.recipes.recipe import Recipe

    path = Path(which)
    if path.is_file():
        _refuse_data(which)
    if path.is_dir():
        recipe = _run(path)
    else:
        recipe = Recipe.find(which)
    console().print(Syntax(recipe.to_toml().strip(), "toml", theme="ansi_dark", background_color="default"))


def _refuse_data(path: str) -> None:
    """Raises Refused for a file of data, with the command that shows it."""
    from undiffuse.core.errors import Refused
    from undiffuse.data.resolve import is_data

    if is_data(path):
        raise Refused(f"{path} is data, no run and no recipe: undiffuse check-data {shlex.quote(path)} shows it")


def _run(path: Path) -> Any:
    """Print what the run has come to; returns its recipe."""
    from rich.table import Table
    from rich.tree import Tree

    from undiffuse.evaluation import wording
    from undiffuse.evaluation.record import evaluation, history
    from undiffuse.models.load import load

    model = load(path, precision="float32")
    facts = model.describe()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("run", str(path))
    table.add_row(
        "samples", " x ".join(map(str, model.data_shape)) + (f", {len(model.classes)} classes" if model.classes else "")
    )
    if model.shape != model.data_shape:
        table.add_row("latents", " x ".join(map(str, model.shape)))
    for name, lines in model.about().items():
        table.add_row(name, lines)
    table.add_row("parameters", count(facts["parameters"]))
    for name in ("step", "seed"):
        if name in facts:
            table.add_row(name, count(facts[name]))
    if losses := history(path).get("validation_loss"):
        table.add_row(
            "validation loss", f"{losses[1][-1]:.4g} at step {count(losses[0][-1])}, best {min(losses[1]):.4g}"
        )
    if accuracy := history(path).get("validation_accuracy"):
        table.add_row("validation accuracy", f"{accuracy[1][-1]:.1%} at step {count(accuracy[0][-1])}")
    for name, metric in evaluation(path).get("metrics", {}).items():
        table.add_row(wording.word(name).title, wording.line(name, metric))
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items()))
    console().print(table)
    if runs := model.tree():
        _branch(tree := Tree("runs in it"), runs)
        console().print(tree)
    console().print()
    return model.recipe


def _branch(tree: Any, runs: Mapping[str, Any]) -> None:
    """Hang runs on a tree, each with those inside it."""
    for title, below in runs.items():
        _branch(tree.add(title), below)
