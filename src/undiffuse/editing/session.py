"""A session: a model, guided and planned, that draws from whatever denoiser, sampler and start it is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from undiffuse.core import arguments
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.sampling import items
from undiffuse.sampling.conditions import requested
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.guidance import guide
from undiffuse.sampling.plan import Plan, Progress, Reporting, plan, shown
from undiffuse.sampling.steering import NAMES, Steering


@dataclass(frozen=True)
class Session:
    """denoiser: the model's, guided. chosen: sampler and times. cond: the conditions of the n samples."""

    model: Generator
    n: int
    denoiser: Denoiser
    chosen: Plan
    cond: Mapping[str, Tensor]
    seed: int
    progress: Progress

    @classmethod
    def open(
        cls,
        model: Generator,
        n: Any,
        *,
        seed: Any = 0,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        grid: Grid | str | None = None,
        progress: Progress = False,
        of: Literal["values", "tokens"] = "values",
        **how: Any,
    ) -> "Session":
        """What `Generator.sample` would do with these; raises Refused as it does, and for models of other than `of`.

        how: the fields of `Steering`, and conditions.
        """
        n, seed = arguments.whole(n, "n"), arguments.seed(seed)
        if n < 1:
            raise Refused(f"the number of samples must be at least 1, not {n}")
        arguments.whole(n, "n", 1, arguments.INDICES)
        values = model.denoiser.process.family == "values" and not model.codec.tokens
        kind = "values" if values else "tokens"
        if kind != of:
            what = {"values": "editing is", "tokens": "infilling is"}[of]
            raise Refused(f"{what} for models of {of}; this one is of {kind}")
        chosen = plan(model.recipe, model.denoiser.process, sampler, steps, grid)
        steering = Steering(**{name: how.pop(name) for name in NAMES if name in how})
        given = requested(model, n, how)
        denoiser = guide(model, steering, given)
        return cls(model, n, denoiser, chosen, given, seed, progress)

    def item(self, x: Any, name: str, shape: tuple[int, ...] | None = None, real: bool = False) -> np.ndarray:
        """One item in the data's units and dtype, (*shape) or (1, *shape): (1, *shape). real: see `items.item`.

        Raises Refused, with both shapes, where it is no item of the model's, and for numbers that such do not have.
        """
        wanted = self.model.shape if shape is None else shape
        found = items.item(self.model.codec, x, name, real)
        found = found if found.ndim > len(wanted) else found[None]
        if found.shape != (1, *wanted):
            raise Refused(f"the model's samples have the shape {wanted}, and this is {found.shape[1:]}")
        return found

    def encoded(self, x: Any, name: str, shape: tuple[int, ...] | None = None, real: bool = False) -> Tensor:
        """`item` as the network sees it: (1, *shape)."""
        return self.model.codec.encode(self.item(x, name, shape, real)).to(self.model.device)

    def draw(
        self,
        denoiser: Denoiser | None = None,
        sampler: Sampler | None = None,
        start: Tensor | None = None,
        times: Tensor | None = None,
        shape: tuple[int, ...] | None = None,
        times_n: int = 1,
    ) -> Tensor:
        """n samples, encoded; with another denoiser, sampler, first state, grid or shape where one is given.

        times_n: how many particles make one sample; the first of each group is it.
        """
        times = self.chosen.times if times is None else times
        n = self.n * times_n
        cond: dict[str, Any] = {name: value.repeat_interleave(times_n, 0) for name, value in self.cond.items()}
        with shown(self.progress, len(times) - 1) as report:
            done = iter(range(1, len(times)))
            watched = Reporting(sampler or self.chosen.sampler, lambda: report(next(done)))
            x = sample(
                denoiser or self.denoiser,
                self.model.denoiser.state_shape((n, *self.model.shape)) if shape is None else (n, *shape),
                sampler=watched,
                times=times,
                seed=self.seed,
                start=None if start is None else start.expand(n, *start.shape[1:]),
                **cond,
            )
        return x[::times_n]

    def decoded(self, z: Tensor) -> Tensor:
        """Encoded samples in the data's units, on the CPU."""
        return self.model.decoded(z)

    @property
    def unit(self) -> float:
        """How many encoded units one unit of the data is, on average over an item."""
        ends = [self.model.codec.encode(np.full((1, *self.model.shape), value, np.float32)) for value in (0.0, 1.0)]
        return float((ends[1] - ends[0]).double().mean())
