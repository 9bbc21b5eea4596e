"""Which sampler on which times: what a request says, else the recipe's [sampler] table, else the process."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import arguments, devices, jumps, registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.objective import Objective
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import ROUNDING
from undiffuse.progress import Progress, progress_bar
from undiffuse.recipes.description import Described
from undiffuse.recipes.recipe import Recipe, put
from undiffuse.sampling.option import checked, options
from undiffuse.sampling.request import RUNS, SampleRequest

MEMORY = 2**28  # bytes for the network's activations
WIDTH = 2**14  # bytes of activations for each pixel: 128 channels of float32, some 30 of them alive at once


def recipe_defaults(recipe: Recipe) -> SampleRequest:
    """The [sampler] table: the sampler's name and own fields, and beside them fields of a request; None where it is
    silent.
    """
    table = recipe["sampler"]
    names = [name for name, about in options(SampleRequest).items() if about.recipe]
    found = checked(SampleRequest, {name: table.pop(name) for name in names if name in table}, "sampler")
    try:
        made = SampleRequest(**found)
    except Refused as error:
        raise Refused(f"sampler: {error}") from None
    return replace(
        made,
        sampler=registry.build("samplers", table, runs=recipe.uses.of("sampler")) if table else None,
        grid=None if made.grid is None else resolved_grid(made.grid),
        **{name: recipe.uses.run(f"sampler.{name}", path) for name in RUNS if (path := found.get(name))},
    )


def resolved_grid(asked: Any) -> Grid:
    """The grid of this name or table."""
    if isinstance(asked, Grid):
        return asked
    if not isinstance(asked, Mapping | str):
        raise Refused(
            f"grid is a name, such as 'karras', or a Grid, such as grids.Karras(), not {arguments.shown(asked)}"
        )
    return registry.build("grids", asked if isinstance(asked, Mapping) else {"name": asked})


def plan(recipe: Recipe, denoiser: Denoiser, request: SampleRequest) -> tuple[Sampler, Tensor]:
    """The sampler and its times, (steps + 1,), falling, in float64: as asked for, else as the recipe says (of its own
    sampler only), else the sampler's own default.
    """
    own = recipe_defaults(_with_settings(recipe, request) if request.sampler is None else recipe)
    if request.sampler is not None:
        own = SampleRequest(sampler=_sampler(request))
    chosen: Any = own.sampler or jumps.default_sampler(denoiser)
    asked = own.grid if request.grid is None else request.grid
    wanted = resolved_grid(chosen.grid or denoiser.process.default_grid if asked is None else asked)
    return chosen, wanted(denoiser.process.schedule, request.steps or own.steps or chosen.default_steps)


def refuse_another(recipe: Recipe, denoiser: Denoiser, objective: Objective) -> None:
    """Raises Refused where a recipe samples in another way than its objective trains for."""
    if (trained := objective.sampled(denoiser.process)) is None:
        return
    (sampler, times), (chosen, own) = trained, plan(recipe, denoiser, SampleRequest())
    if sampler != chosen or len(times) != len(own) or not torch.allclose(times, own, rtol=0, atol=ROUNDING):
        at = ", ".join(f"{t:.4g}" for t in times.tolist())
        raise Refused(
            f"objective {registry.name_of(objective)!r} trains for {sampler} in {len(times) - 1} steps at t = {at}, "
            f"and the recipe samples by {chosen} in {len(own) - 1}: make sampler.name, sampler.steps and sampler.grid "
            "those of the objective"
        )


def _sampler(request: SampleRequest) -> Sampler:
    """The sampler that a request names, with its settings."""
    asked: Any = request.sampler
    if isinstance(asked, str):
        return registry.build("samplers", {**_put({}, request.settings), "name": asked})
    if not isinstance(asked, Sampler):
        raise Refused(f"sampler is a name, such as 'ddim', or a Sampler, such as DDIM(), not {arguments.shown(asked)}")
    if request.settings:
        raise Refused(f"settings are of a sampler by its name, such as 'ddim': {asked} has its own")
    return asked


def _with_settings(recipe: Recipe, request: SampleRequest) -> Recipe:
    """The recipe, with fields of its own sampler set."""
    if not request.settings:
        return recipe
    table = recipe["sampler"]
    if "name" not in table:
        first = next(iter(request.settings))
        raise Refused(f"{first} is for a sampler, and the run's recipe names none: name one with --sampler")
    return recipe.with_tables(sampler=_put(table, request.settings))


def _put(table: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a table with fields set, `predictor.eta` inside another; names first, since they clear theirs."""
    tables = {"sampler": dict(table)}
    for name, value in sorted(settings.items(), key=lambda pair: not pair[0].endswith("name")):
        put(tables, ["sampler", *name.split(".")], value)
    return tables["sampler"]


def batches(shape: tuple[int, ...], symbols: int = 0) -> int:
    """How many samples of this shape to draw at once: what fits a modest memory; a point counts as one pixel.

    symbols: of tokens, whose chances are written out at every place, in float32 and once more.
    """
    places = math.prod(shape) if symbols else math.prod(shape[1:])
    return max(1, MEMORY // (max(WIDTH, 8 * symbols) * places))


def at_once(model: Described) -> int:
    """`batches` of what a run's model draws."""
    return batches(model.shape, model.codec.vocabulary)


def in_batches(count: int, size: int, make: Callable[[slice], Tensor], progress: Progress = False) -> Tensor:
    """What `make` gives for all of so many rows, so many at a time, halved where memory runs out; on the CPU."""
    made, done = list[Tensor](), 0
    with shown(progress, count) as report:
        while done < count:
            try:
                made.append(make(slice(done, min(count, done + size))).cpu())
            except RuntimeError as error:
                if size == 1 or not devices.out_of_memory(error):
                    raise
                size = -(-size // 2)
            else:
                done = min(count, done + size)
                report(done)
    return torch.cat(made)


@contextmanager
def shown(progress: Progress, total: int) -> Iterator[Callable[[int], None]]:
    """Yields `report(done)`: False shows nothing, True a bar with the time left, a function gets (done, total)."""
    if callable(progress):
        yield lambda done: progress(done, total)
        return
    with progress_bar(
        total=total,
        desc="sampling",
        disable=not progress,
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
    ) as bar:

        def report(done: int) -> None:
            bar.update(done - bar.n)

        yield report
