"""How to sample: what a [sampler] table says, which sampler on which grid, how many at once, how far it has come."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from undiffuse.core import arguments, registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.core.grid import Grid
from undiffuse.core.process.process import Process
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.progress import progress_bar
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.steering import Steering

if TYPE_CHECKING:
    from undiffuse.sampling.run import Run

MOST = 1_000_000  # steps of a sampler
MEMORY = 2**28  # bytes for the network's activations
WIDTH = 2**14  # bytes of activations for each pixel: 128 channels of float32, some 30 of them alive at once

Progress = bool | Callable[[int, int], None]


@dataclass(frozen=True)
class Sampling(Steering):
    """What a recipe's [sampler] table says about drawing samples; None where it is silent."""

    sampler: Sampler | None = None
    steps: int | None = None
    grid: Grid | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None and not 1 <= self.steps <= MOST:
            raise Refused(f"sampler.steps must be at least 1 and at most {MOST:,}, not {self.steps}")


@dataclass(frozen=True)
class Plan:
    """A sampler on a grid. times: (steps + 1,) falling, float64."""

    sampler: Sampler
    times: Tensor

    @property
    def steps(self) -> int:
        return len(self.times) - 1


def sampling(recipe: Recipe) -> Sampling:
    """The [sampler] table: the sampler's name and own fields, and beside them steps, grid and steering."""
    table = recipe["sampler"]
    beside = {key: table.pop(key) for key in ("steps", *registry.fields(Steering)) if key in table}
    asked = table.pop("grid", None)
    return Sampling(
        sampler=registry.build("samplers", table, runs=recipe.uses.of("sampler")) if table else None,
        grid=None if asked is None else resolved_grid(asked),
        **registry.check(Sampling, beside, owner="sampler"),
    )


def resolved_grid(asked: Grid | Mapping[str, Any] | str) -> Grid:
    """The grid of this name or table."""
    if isinstance(asked, Grid):
        return asked
    if not isinstance(asked, Mapping | str):
        raise Refused(
            f"grid is a name, such as 'karras', or a Grid, such as grids.Karras(), not {arguments.shown(asked)}"
        )
    return registry.build("grids", asked if isinstance(asked, Mapping) else {"name": asked})


def plan(
    recipe: Recipe, process: Process, sampler: Sampler | str | None, steps: int | None, grid: Grid | str | None
) -> Plan:
    """What was asked for, else what the recipe says (of its own sampler only), else the sampler's own default."""
    steps = None if steps is None else arguments.whole(steps, "steps")
    if steps is not None and not 1 <= steps <= MOST:
        raise Refused(f"sampling needs {'at least 1 step' if steps < 1 else f'at most {MOST:,} steps'}, not {steps}")
    own = sampling(recipe)
    if sampler is not None:
        built = registry.build("samplers", {"name": sampler}) if isinstance(sampler, str) else sampler
        if not isinstance(built, Sampler):
            raise Refused(
                f"sampler is a name, such as 'ddim', or a Sampler, such as DDIM(), not {arguments.shown(built)}"
            )
        own = Sampling(sampler=built)
    chosen = own.sampler or registry.get("samplers", process.default_sampler)()
    wanted = resolved_grid(grid or own.grid or chosen.grid or process.default_grid)
    return Plan(chosen, wanted(process.schedule, steps or own.steps or chosen.default_steps))


@dataclass(frozen=True)
class Reporting(Sampler):
    """Another sampler, with a call after every step."""

    sampler: Sampler
    stepped: Callable[[], None]

    families: ClassVar[frozenset[str]] = ANY

    @property
    def inner(self) -> Sampler:
        return self.sampler

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        belief = self.sampler.step(denoiser, x_t, t, s, memory, random=random, **cond)
        self.stepped()
        return belief


def batches(shape: tuple[int, ...], symbols: int = 0) -> int:
    """How many samples of this shape to draw at once: what fits a modest memory; a point counts as one pixel.

    symbols: of tokens, whose chances are written out at every place, in float32 and once more.
    """
    places = math.prod(shape) if symbols else math.prod(shape[1:])
    return max(1, MEMORY // (max(WIDTH, 8 * symbols) * places))


def at_once(model: "Run") -> int:
    """`batches` of what a run's model draws."""
    return batches(model.shape, model.codec.vocabulary)


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
