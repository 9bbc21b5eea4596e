"""Checks before training starts: no run is overwritten, and a resumed run is the same run."""

from collections.abc import Collection, Mapping
from pathlib import Path

from undiffuse.core.errors import Refused
from undiffuse.core.objective import Objective
from undiffuse.data.paths import absolute, located
from undiffuse.models import load
from undiffuse.progress import LOGGER
from undiffuse.recipes import build
from undiffuse.recipes import recipe as recipes
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.recipes.settings import Train
from undiffuse.sampling.run import FILE
from undiffuse.storage.files import discard
from undiffuse.training import checkpoint, run_lock
from undiffuse.training.rate import rate

FREE = (  # what may change between a run and its continuation
    "train.steps",
    "train.accumulate",
    "train.checkpoint_every",
    "train.preview_every",
    "train.validate_every",
    "train.keep",
    "train.precision",
    "data.path",
    "data.origin",
    "data.skip_broken",
)


MADE = ("metrics.jsonl", "tensorboard", "previews", "ema", "training.html")  # of a run that came to no checkpoint
JUMP = 1.5  # times as high as where the run stopped, and the learning rate is said to jump


def refuse(folder: Path, recipe: Recipe, resume: bool, inside: Collection[str] = ()) -> None:
    """Raises Refused where a run would overwrite another, or what is no run, or would go on and not be the same.

    inside: names of folders in it that are runs of its own, trained first.
    """
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder} is a file; choose a folder with --out")
    holds = folder.exists() and any(
        not path.name.startswith(".") and path.name not in inside for path in folder.iterdir()
    )
    if not holds or _failed(folder):
        return
    if not (folder / recipes.FILE).exists():
        raise Refused(f"{folder} is not empty, and holds no run: choose another folder with --out")
    if not resume:
        raise Refused(f"{folder} already holds a run: continue it with --resume, or choose another folder with --out")
    changed = _before(folder).difference(recipe, but=FREE)
    if changed:
        field, was, now = changed
        raise Refused(
            f"{folder} was trained with {field} = {was!r}, and this is {field} = {now!r}: "
            f"on --resume only these may change: {', '.join(FREE)}"
        )
    steps, reached = build.training(recipe).steps, _reached(folder)
    if steps < reached:
        raise Refused(f"{folder} has come to step {reached}: train.steps may be raised, not lowered to {steps}")


def refuse_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Raises Refused where a run would go on with other classes than those that it knows."""
    before = load.description(folder)
    known = before.classes if before else None
    if known is not None and known != classes:
        gone, new = ([name for name in one if name not in other] for one, other in ((known, classes), (classes, known)))
        found = [f"without {', '.join(gone[:5])}"] * bool(gone) + [f"with {', '.join(new[:5])}"] * bool(new)
        raise Refused(
            f"{folder} was trained on the classes {', '.join(known[:12])}, and the data are now "
            f"{' and '.join(found) or 'in another order'}: a run goes on with the same classes"
        )


def used(paths: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Where the runs are that a recipe's fields name, and what tells their weights from others, in JSON's types."""
    return {name: {"path": path, "digest": load.weights(path)} for name, path in paths.items()}


def refuse_others(folder: Path, runs: Mapping[str, Mapping[str, str]]) -> None:
    """Raises Refused, by the field's name, where a run would go on with another run in it than it had."""
    before = load.description(folder)
    for name, then in (before.facts.get("runs", {}) if before else {}).items():
        # runs that began under an older version hold the digest of the whole file
        if name in runs and then["digest"] not in (runs[name]["digest"], load.digest(runs[name]["path"])):
            raise Refused(
                f"{name} = {runs[name]['path']!r} is not the run that {folder} was trained with: its weights have "
                "changed, and a run goes on with the same"
            )


def announce(folder: Path, settings: Train, objective: Objective, resume: bool) -> bool:
    """Whether there is a run to go on with; says so where one was asked for in vain, and where its rate will jump.

    Raises Refused for another number of steps where the objective divides them into phases.
    """
    reached = _reached(folder)
    if not reached:
        if resume:
            LOGGER.warning("%s has no checkpoint to go on from: the training starts at step 0", folder)
        return False
    before = build.training(_before(folder))
    if settings.steps != before.steps and len(objective.phase_ends(settings.steps)) > 1:
        raise Refused(
            f"{folder} is trained in phases, which divide its {before.steps} steps: train.steps stays as it is, not "
            f"{settings.steps}"
        )
    was, now = rate(before, reached), rate(settings, reached + 1)
    if settings.steps not in (before.steps, reached) and now > JUMP * was:
        LOGGER.warning(
            "with train.steps = %d in place of %d the cosine decay is stretched: the learning rate jumps from %.3g at "
            "step %d to %.3g",
            *(settings.steps, before.steps, was, reached, now),
        )
    return True


def clear(folder: Path) -> None:
    """Remove the files of a run that never reached a checkpoint."""
    for name in MADE:
        discard(folder / name)


def _failed(folder: Path) -> bool:
    """Whether all that the folder holds is a run that ended before its first checkpoint."""
    begun = (folder / recipes.FILE).exists() and (folder / run_lock.FILE).exists()
    return begun and checkpoint.newest(folder) is None and not (folder / FILE).exists()


def _before(folder: Path) -> Recipe:
    return absolute(located(resolve(Recipe.find(folder))))


def _reached(folder: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    newest = checkpoint.newest(folder)
    return int(newest.name) if newest else 0
