"""What a run folder holds: a denoiser, the codec at its edges, and the recipe that made them."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse import __version__
from undiffuse.codecs.codec import Codec
from undiffuse.core.denoiser import Classifier, Denoiser, Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.core.times import Grid
from undiffuse.model import parts
from undiffuse.model.blueprint import TENSORS
from undiffuse.model.conditions import guide, requested
from undiffuse.model.description import FORMAT, Description
from undiffuse.model.files import finite, fit, write_json, write_tensors
from undiffuse.model.held import held
from undiffuse.model.plan import Plan, Progress, Watched, batches, plan, shown
from undiffuse.model.precision import pick, place
from undiffuse.model.recipe import Recipe
from undiffuse.model.settings import Condition

FILE = "model.safetensors"  # weights, and in its header everything else: one file, so it is whole or absent
SUMMARY = "model.json"  # the header again, for people and other programs; never read


@dataclass(frozen=True, eq=False)
class Model:
    """A trained denoiser with its codec: draws samples in the data's own units.

    shape: of one encoded sample, channels first. classes: names of the labels. conditions: what the network is told,
    by name.
    facts: the step, the data's summary, library versions ... in JSON's types.
    variance: the fields of `OptimalVariance` but its denoiser, where they were tuned: the variance "exact" of samplers.
    """

    denoiser: Predictor | Classifier
    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    classes: tuple[str, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    variance: Mapping[str, Any] = field(default_factory=dict)

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        times: Grid | str | None = None,
        guidance: float | Mapping[str, float] | None = None,
        batch: int | None = None,
        indices: Sequence[int] | Tensor | None = None,
        progress: Progress = False,
        **cond: Any,
    ) -> Tensor:
        """Draw n samples: (n, *shape) in the data's dtype and range, on the CPU.

        Sample i depends on (seed, i) only, whatever the batch. sampler, steps, times, guidance: as the recipe says,
        unless given.
        batch: at most so many at once (default: what fits memory; halved where it does not). indices: which samples,
        default 0 ... n-1.
        label, and other conditions by their names: a class (number or name), a text, numbers (d,) or an image
        (channels, height, width) of any size, or n of them; left out: samples of any. guidance: or by name.
        progress: show a bar, or call progress(done, total), in steps of one sample.
        Raises Refused for counts and steps below 1, unknown classes and conditions, and for guidance that the model
        was not trained for.
        """
        chosen = plan(self.recipe, self.denoiser.process, sampler, steps, times)
        which, given = self._indices(n, indices), requested(self, n, cond)
        guided = guide(self, guidance, given)
        if batch is not None and batch < 1:
            raise Refused(f"batch must be at least 1, not {batch}")
        size = min(n, batch or batches(self.shape))
        drawn: list[Tensor] = []
        with shown(progress, n * chosen.steps) as report:
            while (done := sum(map(len, drawn))) < n:
                rows = slice(done, done + size)
                part = {name: value[rows] for name, value in given.items()}
                try:
                    drawn.append(
                        self._draw(
                            guided, chosen, which[rows], seed, part, partial(_report, report, done * chosen.steps)
                        )
                    )
                except RuntimeError as error:
                    if size == 1 or not out_of_memory(error):
                        raise
                    size = -(-size // 2)
        return torch.cat(drawn)

    @torch.no_grad()
    def trajectory(
        self,
        n: int,
        *,
        seed: int = 0,
        sampler: Sampler | str | None = None,
        steps: int | None = None,
        times: Grid | str | None = None,
        guidance: float | Mapping[str, float] | None = None,
        indices: Sequence[int] | Tensor | None = None,
        **cond: Any,
    ) -> Iterator[Tensor]:
        """The n samples that `sample` draws, in one batch, as they emerge: the noise, then the state after every step,
        decoded.

        Values are divided by sqrt(alpha^2 + sigma^2), so that noise is as bright as data under every schedule.
        """
        chosen = plan(self.recipe, self.denoiser.process, sampler, steps, times)
        which, given = self._indices(n, indices), requested(self, n, cond)
        guided, random = guide(self, guidance, given), Random(seed, which)
        process = self.denoiser.process
        start = process.prior((n, *self.shape), chosen.times[0]).sample(random.fold(-1)).to(self.device)
        states = trajectory(guided, chosen.sampler, start, chosen.times, random=random, **given)
        for t, x in zip(chosen.times, chain([start], states), strict=True):
            yield self.codec.decode(process.shown(x, t)).cpu()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.denoiser.parameters()).device

    def to(self, precision: str = "auto", device: torch.device | str | None = None) -> "Model":
        """The model on a device, in a precision; the weights move, they are not copied."""
        where = torch.device(device or self.device)
        place(self.denoiser, pick(precision, where, self.denoiser), where)
        return self

    def save(self, folder: Path | str) -> None:
        """Write the model into a folder, each file whole or not at all; raises Refused for rounded weights."""
        folder, weights = Path(folder), self.denoiser.state_dict()
        rounded = [name for name, value in weights.items() if value.dtype in (torch.bfloat16, torch.float16)]
        if rounded:
            raise Refused(
                f"the weights were rounded to half precision ({rounded[0]}); load with precision='float32' to save"
            )
        about = self.describe()
        write_tensors(folder / FILE, weights, about)
        write_json(folder / SUMMARY, about)

    def describe(self) -> dict[str, Any]:
        """All but the weights, in JSON's types."""
        return {
            "format": FORMAT,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "conditions": {name: condition.described() for name, condition in self.conditions.items()},
            "codec": {"name": self.recipe["codec"]["name"], **asdict(self.codec)},  # pyright: ignore[reportArgumentType]
            "parameters": sum(p.numel() for p in self.denoiser.parameters()),
            "recipe": {"name": self.recipe.name, "about": self.recipe.about, "tables": self.recipe.tables},
            "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
            **({"variance": dict(self.variance)} if self.variance else {}),
            **self.facts,
        }

    def _draw(
        self,
        guided: Denoiser,
        chosen: Plan,
        which: Tensor,
        seed: int,
        given: Mapping[str, Tensor],
        stepped: Callable[[int], None],
    ) -> Tensor:
        """One batch, decoded; `stepped` hears how many steps of one sample are done after each step."""
        watched = Watched(chosen.sampler, partial(_count, stepped, len(which), count(1)))
        told: dict[str, Any] = dict(given)
        shape = (len(which), *self.shape)
        z = sample(guided, shape, sampler=watched, times=chosen.times, seed=seed, indices=which, **told)
        return self.codec.decode(z).cpu()

    def _indices(self, n: int, indices: Sequence[int] | Tensor | None) -> Tensor:
        if n < 1:
            raise Refused(f"the number of samples must be at least 1, not {n}")
        which = torch.arange(n) if indices is None else torch.as_tensor(indices, dtype=torch.int64)
        if which.shape != (n,):
            raise Refused(f"{n} samples need {n} indices, not {which.numel()}")
        return which


def load(path: Path | str, precision: str = "auto", device: torch.device | str | None = None) -> Model:
    """The model of a run folder, with the averaged weights, ready to sample.

    precision: "auto" (bfloat16 where the hardware multiplies it and the network has convolutions), "float32" or
    "bfloat16".
    device: default a GPU where there is one. Runs no code from the folder, and takes memory only once the file is known
    to hold what its recipe's network needs. Raises Refused if there is no whole model.
    """
    path = Path(path)
    file = path / FILE if os.path.isdir(path) else path  # os.path, since a Path raises for names that no file has
    if not os.path.exists(path):
        raise Refused(f"there is no run at {path}")
    if not os.path.exists(file):
        raise Refused(
            f"{path} holds no model ({FILE}): training has not reached its first checkpoint, or this is no run folder"
        )
    what = f"model {file}"
    with held(file, "model") as found:
        said = Description.of(found.about, what)
        classes = len(said.classes) if "label" in said.conditions else 0
        # a network may have more than it saves, but not much
        most = (min(len(found) + 1000, TENSORS), found.nbytes + 2**30)
        of = (said.recipe, said.shape, classes, said.codec)
        fit(found.like, parts.blueprint(*of, *most, told=said.conditions), what)
        with torch.random.fork_rng(devices=[]):
            denoiser = parts.predictor(*of, said.conditions)
        weights = dict(found)
    finite(weights, what)
    denoiser.load_state_dict(weights)
    model = Model(denoiser.eval().requires_grad_(False), **vars(said))
    return model.to(precision, device or best_device())


def best_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def out_of_memory(error: Exception) -> bool:
    """Whether this is PyTorch's way to say that memory ran out, on any device."""
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )


def _report(report: Callable[[int], None], before: int, done: int) -> None:
    report(before + done)


def _count(stepped: Callable[[int], None], rows: int, steps: Iterator[int]) -> None:
    stepped(rows * next(steps))
