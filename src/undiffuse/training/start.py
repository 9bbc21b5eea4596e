"""A training run, prepared: recipe, data, codec and network, checked and put together."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from undiffuse.codecs.codec import Codec, fitted
from undiffuse.conditions.declared import drop_rates
from undiffuse.conditions.from_data import completed
from undiffuse.conditions.from_data import fitted as fitted_conditions
from undiffuse.conditions.label import classes_of
from undiffuse.core import registry
from undiffuse.core.arguments import shown
from undiffuse.core.devices import on_cpu
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import of_recipe
from undiffuse.data.latent_file import refuse_codec
from undiffuse.data.paths import absolute, located
from undiffuse.data.predictive import PREDICTS
from undiffuse.data.read_captions import read
from undiffuse.models import load
from undiffuse.networks.lora import calls
from undiffuse.recipes import build
from undiffuse.recipes.arrays import named, with_arrays
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe, is_run
from undiffuse.recipes.resolved import resolve
from undiffuse.recipes.uses import Uses, said_from_root
from undiffuse.reports import training_page
from undiffuse.sampling.data_frame import TABLE
from undiffuse.sampling.plan import refuse_another
from undiffuse.sampling.run import Run
from undiffuse.storage.files import own, write_bytes
from undiffuse.training import nested, prepared
from undiffuse.training.base_run import standing
from undiffuse.training.batches import Flip
from undiffuse.training.continuing import announce, clear, refuse, refuse_classes, refuse_others, used
from undiffuse.training.crops import Crops
from undiffuse.training.distributed import accelerator
from undiffuse.training.initial_weights import grown
from undiffuse.training.loop import Training
from undiffuse.training.own_data import refuse_inference_mode
from undiffuse.training.previews import validate
from undiffuse.training.reference_distance import ReferenceDistance
from undiffuse.training.run_lock import abandon, run_lock
from undiffuse.training.signal_left import warn_of_signal_left
from undiffuse.training.stage_samples import paths, with_samples
from undiffuse.training.starting_run import StartingRun
from undiffuse.training.teachers import ITEMS, check_teachers

RUNS = Path("runs")
CLOUD, NUMBERS = 2000, 2**14  # points in a preview of points, and numbers in them all


@on_cpu()
def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
) -> Training[Any]:
    """Prepare a training run; iterate over what is returned, or call its `run()`, which gives the run.

    recipe: a name, a TOML file, a run folder, or the tables themselves. out: the run folder, default runs/<name>; what
    a run left there that came to no checkpoint is removed.
    overrides: `table.field=value` texts. resume: go on from the folder's newest checkpoint, or start where there is no
    run; only the fields in FREE may differ then, and the data must be the same. No other process can use the run folder
    until the run ends.
    Everything is checked before anything is written. Raises Refused for invalid recipes, overrides, data and folders.
    """
    if isinstance(overrides, str) or not all(isinstance(each, str) for each in overrides):
        raise Refused(f"overrides is a list of settings, each a text of table, field and value, not {shown(overrides)}")
    refuse_inference_mode()
    if not isinstance(out, str | Path | None):
        raise Refused(f"out is a folder, a text or a Path, not {shown(out)}")
    uses = Uses(partial(load.load, precision="float32", device="cpu"))
    run = Path(recipe) if resume and isinstance(recipe, str | Path) and is_run(Path(recipe)) else None
    chosen, base = standing(replace(Recipe.find(run or recipe).override(overrides), uses=uses))
    folder = Path(out).expanduser() if out is not None else run or RUNS / chosen.name
    inside = nested.folders(chosen)
    if inside:
        build.check(nested.without(chosen))
        if not resume:
            refuse(folder, absolute(located(resolve(chosen))), resume, inside)
        chosen = nested.trained_first(chosen, folder, resume, train)
    chosen = _with_files(chosen, folder, resume)
    built = build.check(chosen)
    settings, kind = built.train, built.kind
    varied = paths(built.conditions)
    resolved = absolute(located(resolve(chosen))).override([*uses.absolute(), *said_from_root(varied)])
    refuse(folder, resolved, resume, inside)
    workers, start = accelerator(), StartingRun.of(chosen)
    on = start if base is None else base
    for name, run in uses.runs.items():
        if name.startswith(("codec.", "init.", "base.")):
            run.to("float32", workers.device)
    learned, held_out = on.data(*data(chosen))
    learned = with_samples(learned, built.conditions)
    held_out = with_samples(held_out, built.conditions) if held_out else None
    codec = on.codec(learned) if on.keeps else _codec(chosen, learned, settings.flip)
    within = {name: condition.within(codec) for name, condition in built.conditions.items()}
    conditions = on.conditions(fitted_conditions(within, learned.conditions, learned.name, learned.classes))
    redrawn = {name: condition.drawn for name, condition in conditions.items() if condition.redrawn}
    batches = prepared.batches(
        learned,
        completed(codec, conditions, read(conditions, learned.conditions), learned=True),
        codec,
        settings.batch,
        settings.seed,
        drop=drop_rates(conditions),
        flip=settings.flip,
        mirrors={name: condition.mirror for name, condition in conditions.items()},
        draws=redrawn,
        augments={name: condition.augmented for name, condition in conditions.items() if condition.augments},
        crop=Crops.of(settings.crop, learned, conditions, codec),
    )
    batch = batches.at(0, slice(2))
    shape = tuple(replace(batches, crop=None).at(0, slice(1)).x.shape[1:])
    on.refuse_shape(shape)
    check_teachers(uses, codec, shape, np.asarray(learned.some(ITEMS).x))
    if resume:
        refuse_classes(folder, classes_of(conditions))
    about = Description(chosen, shape, conditions, codec)
    module = _module(built, start, about, batch)
    if kind.denoises:
        warn_of_signal_left(module, batch.x[:1])
        refuse_another(chosen, module, built.objective)
    objective = built.objective
    described = learned.describe()
    facts = {"data": described, "held_out": len(held_out) if held_out else 0, "seed": settings.seed}
    facts |= start.facts() | ({"runs": runs} if (runs := used({**uses.paths, **varied})) else {})
    if resume:
        refuse_others(folder, runs)
    make = partial(_result, kind, replace(about, recipe=resolved, facts=facts))
    check = None
    if held_out is not None:
        beside = completed(codec, conditions, read(conditions, held_out.conditions))
        unseen = prepared.batches(
            held_out, beside, codec, settings.batch // settings.accumulate, settings.seed, draws=redrawn
        )
        distance = ReferenceDistance(objective, make, unseen, held_out.conditions)
        check = partial(validate, objective, unseen, distance)
    points = learned.kind == "points"
    count = max(settings.previews, min(CLOUD, NUMBERS // learned.x.shape[1])) if points else settings.previews
    some = learned.some(count)
    show = partial(_preview, folder, np.asarray(some.x), some.conditions, count)
    page = partial(training_page.write, folder)
    kept = {
        "validate": check,
        "preview": show,
        "page": page,
        "stamp": described["digest"],
        "optimiser": built.optimiser,
    }
    own(folder)
    lock = run_lock(folder) if workers.is_main_process else None
    try:
        refuse(folder, resolved, resume, inside)  # once more: another process may have been there in the meantime
        going = announce(folder, settings, objective, resume)
        for run in uses.runs.values():
            run.to("float32", workers.device)
        training = Training(module, objective, batches, settings, make, folder=folder, lock=lock, **kept)
        if settings.compile:
            module.network.compile()  # alone: what stands around it checks its arguments in Python
        if resume:
            training.resume()
        workers.wait_for_everyone()  # every process has seen the folder as it was
        if lock:
            if not going:
                clear(folder)
            resolved.save(folder)
    except BaseException:
        if lock:
            abandon(folder, lock)
        raise
    return training


def data(recipe: Recipe) -> tuple[Dataset, Dataset | None]:
    """The recipe's data: what training sees and what it never sees (None where train.held_out = 0)."""
    loaded = of_recipe(recipe)
    for remark in loaded.notes.get("remarks", ()):
        logging.getLogger("undiffuse").warning("%s: %s", loaded.name, remark)
    share = build.training(recipe).held_out
    if not share:
        return loaded, None
    learned, held_out = loaded.split(share)
    if learned.labels is not None and len(np.unique(learned.labels)) < len(learned.classes):
        raise Refused(
            f"{loaded.name} has {len(loaded)} items of {len(loaded.classes)} classes: without those that are held out "
            "a class has none to learn from; --set train.held_out=0 trains on all of them"
        )
    return learned, held_out


def _with_files(recipe: Recipe, folder: Path, resume: bool) -> Recipe:
    """The recipe with what its files hold; of a run that goes on as the run keeps it, wherever the files are now."""
    if not named(recipe["process"]):
        return recipe
    before = load.description(folder) if resume else None
    return with_arrays(replace(recipe, arrays=before.recipe.arrays if before else {}))


def _codec(recipe: Recipe, learned: Dataset, flip: Flip) -> Codec:
    """The recipe's codec, fitted; raises Refused for tokens, and for rows with categories, with a codec for values."""
    name = str(recipe["codec"]["name"])
    if learned.vocabulary and "vocabulary" not in registry.fields(registry.get("codecs", name)):
        raise Refused(
            f"the data {learned.name!r} are tokens of {learned.vocabulary} symbols, and codec {name!r} is for values: "
            "add --set codec.name=tokens process.name=categorical"
        )
    if learned.categories and "categories" not in registry.fields(registry.get("codecs", name)):
        holes = learned.notes.get(TABLE, {}).get("holes", {})
        words = [column for column, names in zip(learned.columns, learned.categories, strict=True) if names]
        if set(words) == set(holes.values()):
            raise Refused(
                f"in the data {learned.name!r} numbers are missing ({', '.join(list(holes)[:5])}), and codec {name!r} "
                "is for numbers alone: fill them with --set data.missing=impute, or take the recipe table-mixed, whose "
                "samples have missing ones, too"
            )
        raise Refused(
            f"the data {learned.name!r} have categories ({', '.join(words[:5])}), and codec {name!r} is for values: "
            "take the recipe table-mixed, as undiffuse train table-mixed --data DATA"
        )
    refuse_codec(learned, name, flip)
    known: dict[str, Any] = {}
    if learned.vocabulary:  # a recipe may have symbols that no item of today holds
        known = {"vocabulary": max(learned.vocabulary, recipe["codec"].get("vocabulary", 0)), **learned.spelling}
    known |= {"categories": learned.categories} if learned.categories else {}
    if "columns" in (told := learned.notes.get(PREDICTS, {})):
        known |= {"columns": tuple(told["columns"]), "targets": learned.columns}
    ready = partial(prepared.prepared, data=learned, flip=flip)
    codec: Any = fitted(recipe["codec"], learned.x, recipe.uses.of("codec"), ready, learned.conditions, **known)
    deep = learned.x.dtype.kind in "iu" and learned.x.dtype.itemsize > 1
    if codec.low is not None and deep and not {"low", "high"} & set(recipe["codec"]):
        logging.getLogger("undiffuse").warning(
            "%s: whole numbers from %g to %g in %s: this range becomes -1 to 1, and samples stay in it; "
            "--set codec.low=%g codec.high=%g takes all that %s holds",
            *(learned.name, codec.low, codec.high, codec.dtype),
            *(np.iinfo(codec.dtype).min, np.iinfo(codec.dtype).max, codec.dtype),
        )
    return codec


def _module(built: build.Components, start: StartingRun, about: Description, batch: Batch) -> Any:
    """The module with its first weights; raises Refused if no memory holds it, or if it cannot take two samples."""
    recipe = about.recipe
    built.kind.blueprint(about)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(built.train.seed)
        module = built.kind.build(about)
        if start.run is not None:
            few, more = (built.kind.blueprint(each) for each in (about, about.with_classes((*about.classes, ""))))
            by_class = {name: grown(few[name], more[name]) for name in few if few[name].shape != more[name].shape}
            start.initialise(module, about.classes, by_class)
        try:
            built.objective.begin(module, built.train.steps)  # says what does not go together; training begins anew
            with torch.no_grad(), calls(module) as called:
                built.objective.loss(module, batch, Random(built.train.seed))
        except RuntimeError as error:
            raise Refused(
                f"network {recipe['network']['name']!r} cannot take samples of shape {tuple(batch.x.shape[1:])}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        start.adapt(module, called)
    return module


def _result(kind: type[Run], said: Description, module: nn.Module, step: int) -> Run:
    """The run that a module is after so many steps."""
    return kind.of(module, replace(said, facts={"step": step, **said.facts}))


def _preview(folder: Path, x: np.ndarray, conditions: Mapping[str, Any], count: int, run: Run, step: int) -> None:
    """Write the picture that a run shows of itself, if it has one."""
    picture = run.preview(x, conditions, count)
    if picture is not None:
        write_bytes(folder / "previews" / f"step_{step:06d}.png", picture)
