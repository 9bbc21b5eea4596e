"""`undiffuse train`: make a model from a recipe, or from data alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from undiffuse.core.errors import Refused
from undiffuse.progress import duration

if TYPE_CHECKING:
    from undiffuse.recipes.recipe import Recipe
    from undiffuse.training.loop import Training

LABELS = ("conditions.label", "conditions=")  # settings that say what becomes of the labels


def train(
    recipe: Annotated[
        str,
        Argument(
            metavar="RECIPE|DATA",
            help="One of `undiffuse list recipes`, a .toml file, a run folder, or your data: a folder or a file.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="TABLE.FIELD=VALUE ...", help="Change the recipe: --set train.steps=2000"),
    ] = None,
    data: Annotated[
        str | None, Option(metavar="DATA", help="Train the recipe on this: a folder, a file, hf:NAME, a component.")
    ] = None,
    by: Annotated[
        str | None, Option("--recipe", metavar="RECIPE", help="Train this recipe on the DATA that comes first.")
    ] = None,
    skip_broken: Annotated[
        bool, Option("--skip-broken", help="Go on without files and lines that are broken.")
    ] = False,
    held_out: Annotated[
        float | None, Option("--held-out", metavar="SHARE", help="How much is not trained on, to judge by.")
    ] = None,
    out: Annotated[Path | None, Option("-o", "--out", help="The run folder. [default: runs/RECIPE]")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the run folder's newest checkpoint.")] = False,
) -> None:
    """Train a model. Ctrl-C saves and exits; --resume goes on as if nothing had happened.

    \b
    undiffuse train digits --out runs/digits
    undiffuse train digits --set train.steps=2000 network.width=32 --out runs/larger
    undiffuse train photos --set data.size=32 --out runs/photos
    undiffuse train flowers.csv --set data.label=species --out runs/flowers
    undiffuse train digits --data digits.npz --out runs/mine
    undiffuse train concrete.csv --recipe card --set data.target=strength --out runs/concrete
    """
    from undiffuse.training.start import train

    overrides = [*(settings or ()), *(["data.skip_broken=true"] if skip_broken else [])]
    overrides += [] if held_out is None else [f"train.held_out={held_out}"]
    if by is not None and data is not None:
        raise Refused(
            f"--recipe {by} takes the data that come first, {recipe}, and --data {data} says others: leave one"
        )
    chosen, overrides = chosen_recipe(recipe, data, overrides) if by is None else chosen_recipe(by, recipe, overrides)
    finish(train(chosen, out=out, overrides=overrides, resume=resume))


def finish(training: "Training[Any]") -> None:
    """Train to the end, and say what there is then and what may come next."""
    from undiffuse.recipes.command import command

    try:
        made = training.run()
    except (KeyboardInterrupt, SystemExit):  # training has said how to go on
        if not training.stopped:
            raise
        raise Exit(128 + training.stopped) from None  # 130 after Ctrl-C, 143 after SIGTERM
    if not training.accelerator.is_main_process:
        return
    print(f"{training.folder}: {training.step} step{'s' * (training.step != 1)} in {duration(training.seconds)}")
    print(f"next: {made.next_step(training.folder)}".replace("undiffuse", command()))


def chosen_recipe(recipe: str, data: str | None, overrides: list[str]) -> "tuple[str | Recipe, list[str]]":
    """The recipe and what changes it: as named, on other data, or the one that fits data without a recipe."""
    from undiffuse.data.paths import settings
    from undiffuse.data.recipe_for import recipe as fitting
    from undiffuse.data.recipe_for import unlabelled
    from undiffuse.data.resolve import is_data
    from undiffuse.recipes.recipe import Recipe, names

    if data is not None:
        told = [*settings(data, Recipe.find(recipe)), *overrides]
        if Path(recipe).is_dir() or any(each.startswith(LABELS) for each in overrides):
            return recipe, told
        asked = Recipe.find(recipe).override(told)
        plain = unlabelled(asked)
        return (recipe, told) if plain is asked else (plain, [])
    if recipe in names() or not is_data(recipe):
        return recipe, overrides
    return fitting(recipe, overrides), []
