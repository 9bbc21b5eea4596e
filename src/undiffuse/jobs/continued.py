"""What keeps one run from overwriting another, and a continued one the same run."""

from pathlib import Path

from undiffuse.core.errors import Refused
from undiffuse.data.paths import absolute, located
from undiffuse.model import parts, saved
from undiffuse.model import recipe as recipes
from undiffuse.model.recipe import Recipe
from undiffuse.training import checkpoint

FREE = (  # what may change between a run and its continuation
    "train.steps",
    "train.accumulate",
    "train.checkpoint_every",
    "train.preview_every",
    "train.validate_every",
    "train.keep",
    "data.path",
    "data.origin",
    "data.skip_broken",
)


def refuse(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Raises Refused where a run would overwrite another, or would go on from what is not there or not the same."""
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is a file; choose a folder with --out")
    full = folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())
    if not resume:
        if full and (folder / recipes.FILE).exists():
            raise Refused(
                f"{folder} already holds a run: continue it with --resume, or choose another folder with --out"
            )
        if full:
            raise Refused(f"{folder} is not empty: choose another folder with --out")
        return
    if not (folder / recipes.FILE).exists():
        raise Refused(f"there is no run to resume in {folder}: it has no {recipes.FILE}")
    if not full:
        return
    before = absolute(located(parts.resolve(Recipe.find(folder))))
    changed = before.difference(recipe, but=FREE)
    if changed:
        field, was, now = changed
        raise Refused(
            f"{folder} was trained with {field} = {was!r}, and this is {field} = {now!r}: "
            f"on --resume only these may change: {', '.join(FREE)}"
        )
    newest, steps = checkpoint.newest(folder), parts.training(recipe).steps
    reached = int(newest.name) if newest else 0
    if steps < reached:
        raise Refused(f"{folder} has come to step {reached}: train.steps may be raised, not lowered to {steps}")


def refuse_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Raises Refused where a run would go on with other classes than those that it knows."""
    known = saved.classes(folder)
    if known is not None and known != classes:
        gone, new = ([name for name in one if name not in other] for one, other in ((known, classes), (classes, known)))
        found = [f"without {', '.join(gone[:5])}"] * bool(gone) + [f"with {', '.join(new[:5])}"] * bool(new)
        raise Refused(
            f"{folder} was trained on the classes {', '.join(known[:12])}, and the data are now "
            f"{' and '.join(found) or 'in another order'}: a run goes on with the same classes"
        )
