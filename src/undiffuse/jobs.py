"""The jobs of a user, wired together: recipe, data, codec, network, training."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse import pictures
from undiffuse.codecs.codec import Codec
from undiffuse.core import registry
from undiffuse.core.column_predictor import ColumnPredictor
from undiffuse.core.denoiser import Classifier, Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived import of_recipe
from undiffuse.drawing.draw import reader
from undiffuse.judging import training_page
from undiffuse.model import parts, told
from undiffuse.model import recipe as recipes
from undiffuse.model.files import own
from undiffuse.model.label_model import LabelModel
from undiffuse.model.labelled import is_classifier
from undiffuse.model.model import Model
from undiffuse.model.recipe import Recipe
from undiffuse.model.settings import Condition, Train
from undiffuse.training import checkpoint
from undiffuse.training.batches import Batches
from undiffuse.training.claim import abandon, claim
from undiffuse.training.loop import Training
from undiffuse.training.processes import accelerator
from undiffuse.training.validation import Validation

RUNS = Path("runs")
FREE = (  # what may change between a run and its continuation
    "train.steps",
    "train.accumulate",
    "train.checkpoint_every",
    "train.preview_every",
    "train.validate_every",
    "train.keep",
    "data.path",
    "data.skip_broken",
)
CLOUD = 2000  # points in a preview of points
TEXTS = 20  # in a preview of texts


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
) -> Training[Any]:
    """Prepare a training run; iterate over what is returned, or call its `run()`, which gives a `Model`, or of a
    classifier's recipe a `LabelModel`.

    recipe: a name, a TOML file, a run folder, or the tables themselves. out: the run folder, default runs/<name>.
    overrides: `table.field=value` texts. resume: go on from the folder's newest checkpoint; only FREE may differ then,
    and the data must be the same. The run folder is this process's alone until the run ends.
    Everything is checked before anything is written. Raises Refused for whatever a person can get wrong.
    """
    chosen = Recipe.find(recipe).override(overrides)
    settings = parts.check(chosen)
    inside = isinstance(recipe, str | Path) and Path(recipe).is_dir()
    folder = Path(out) if out is not None else Path(recipe) if inside and resume else RUNS / chosen.name  # pyright: ignore[reportArgumentType]
    resolved = parts.resolve(chosen)
    _refuse(folder, resolved, resume)
    learned, held_out = data(chosen)
    conditions = told.fitted(parts.conditions(chosen), learned.conditions, learned.name)
    codec = _codec(chosen, learned)
    batches = Batches.of(
        learned.x,
        told.tensors(conditions, learned.conditions),
        codec,
        settings.batch,
        settings.seed,
        drop=_rates(conditions),
        flip=settings.flip,
        images=tuple(name for name, condition in conditions.items() if condition.kind == "image"),
    )
    x_0, cond = batches.at(0, slice(2))
    shape = tuple(x_0.shape[1:])
    classes = learned.classes if "label" in conditions else ()
    module = _module(chosen, settings, shape, len(classes), codec, conditions, x_0, cond)
    objective = parts.objective(chosen)
    described = learned.describe()
    facts = {"data": described, "held_out": len(held_out) if held_out else 0, "seed": settings.seed}
    make = partial(
        _result,
        LabelModel if is_classifier(chosen) else Model,
        codec=codec,
        shape=shape,
        recipe=resolved,
        classes=classes,
        conditions=conditions,
        facts=facts,
    )
    check = None
    if held_out is not None:
        beside = told.tensors(conditions, held_out.conditions)
        unseen = Batches.of(held_out.x, beside, codec, settings.batch // settings.accumulate, settings.seed)
        check = partial(_validate, objective, unseen)
    show = partial(_preview, folder, settings.previews, learned)
    if is_classifier(chosen):
        show = partial(_page, folder)
    kept = {"validate": check, "preview": show, "stamp": described["digest"]}
    processes = accelerator()
    own(folder)
    lock = claim(folder) if processes.is_main_process else None
    try:
        _refuse(folder, resolved, resume)  # once more: another process may have been there in the meantime
        training = Training(module, objective, batches, settings, make, folder=folder, lock=lock, **kept)
        if settings.compile:
            module.network.compile()  # alone: what stands around it checks its arguments in Python
        if resume:
            training.resume()
        processes.wait_for_everyone()  # every process has seen the folder as it was
        if lock:
            resolved.save(folder)
    except BaseException:
        if lock:
            abandon(folder, lock)
        raise
    return training


def data(recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """The recipe's data: what training sees and what it never sees (None where train.held_out = 0)."""
    loaded = of_recipe(recipe)
    share = parts.training(recipe).held_out
    return loaded.split(share) if share else (loaded, None)


def _refuse(folder: Path, recipe: Recipe, resume: bool) -> None:
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
    before = parts.resolve(Recipe.find(folder))
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


def _codec(recipe: Recipe, learned: Dataset) -> Codec:
    """The recipe's codec, fitted; raises Refused for tokens, and for rows with categories, with a codec for values."""
    name = str(recipe["codec"]["name"])
    if learned.vocabulary and "vocabulary" not in registry.fields(registry.get("codecs", name)):
        raise Refused(
            f"the data {learned.name!r} are tokens of {learned.vocabulary} symbols, and codec {name!r} is for values: "
            "write codec.name = 'tokens' and process.name = 'categorical'"
        )
    if learned.categories and "categories" not in registry.fields(registry.get("codecs", name)):
        words = [column for column, names in zip(learned.columns, learned.categories, strict=True) if names]
        raise Refused(
            f"the data {learned.name!r} have categories ({', '.join(words[:5])}), and codec {name!r} is for values: "
            "take the recipe table-mixed, whose codec is columns and whose process is product"
        )
    known: dict[str, Any] = {"vocabulary": learned.vocabulary, **learned.spelling} if learned.vocabulary else {}
    known |= {"categories": learned.categories} if learned.categories else {}
    return registry.build("codecs", recipe["codec"], **known).fit(learned.x)


def _rates(conditions: Mapping[str, Condition]) -> float | dict[str, float]:
    """How often the conditions are hidden: one number where there is one condition, else one by each name."""
    rates = {name: condition.drop for name, condition in conditions.items()}
    return rates if len(rates) > 1 else next(iter(rates.values()), 0.0)


def _module(
    recipe: Recipe,
    settings: Train,
    shape: tuple[int, ...],
    classes: int,
    codec: Codec,
    conditions: Mapping[str, Condition],
    x_0: Tensor,
    cond: Mapping[str, Any],
) -> Predictor | Classifier | ColumnPredictor | NoisyClassifier:
    """What is trained with its first weights, tried on two samples, so that one that does not fit is refused now."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        build = parts.classifier if is_classifier(recipe) else parts.predictor
        module = build(recipe, shape, classes, codec, conditions)
        try:
            with torch.no_grad():
                parts.objective(recipe)(module, x_0, Random(settings.seed), cond)
        except RuntimeError as error:
            if not x_0.is_floating_point() and "floating point" in str(error):
                name = recipe["objective"]["name"]
                raise Refused(f"objective {name!r} is for values, and the data are tokens: use denoising") from error
            raise Refused(
                f"network {recipe['network']['name']!r} cannot take samples of shape {shape}: "
                f"{str(error).splitlines()[0]}"
            ) from error
    return module


def _result(made: Any, module: nn.Module, step: int, *, facts: Mapping[str, Any], **fixed: Any) -> Any:
    """The Model or LabelModel that a module is after so many steps."""
    return made(module, facts={"step": step, **facts}, **fixed)


def _validate(objective: Any, unseen: Batches, averaged: nn.Module, trained: nn.Module) -> dict[str, Any]:
    """Loss on held-out data, of the averaged and the trained weights, where on the way to data it lies, and what else
    the objective knows to measure.
    """
    device = next(averaged.parameters()).device
    validation = Validation(objective, unseen.to(device))
    others: Mapping[str, Any] = getattr(objective, "beside", {})
    return {
        "validation_loss": validation(averaged),
        "validation_loss_raw": validation(trained.eval()),
        "levels": validation.levels(averaged, objective),
        **{f"validation_{name}": Validation(other, unseen.to(device))(averaged) for name, other in others.items()},
    }


def _preview(folder: Path, count: int, learned: Dataset, model: Model, step: int) -> None:
    """What the averaged weights make of the same noise every time, one class a column, and the page on the training."""
    points = learned.kind == "points"
    some = learned.some(CLOUD if points else count)
    count = CLOUD if points else count
    drawn = model.sample(
        count, label=_labels(model, count), **told.examples(model.conditions, some.conditions, count)
    ).numpy()
    beside = np.asarray(some.x) if points else None
    columns = len(model.classes) if 1 < len(model.classes) <= 12 else None
    if read := reader(model.codec):
        picture = pictures.page(list(map(read, drawn[:TEXTS])))
    else:
        picture = pictures.overview(drawn, beside=beside, columns=columns, names=learned.columns)
    pictures.write(folder / "previews" / f"step_{step:06d}.png", pictures.png(picture))
    training_page.write(folder)


def _page(folder: Path, model: LabelModel, step: int) -> None:
    """What a classifier shows of itself: the page on the training."""
    training_page.write(folder)


def _labels(model: Model, count: int) -> list[int] | None:
    return [i % len(model.classes) for i in range(count)] if "label" in model.conditions else None
