"""Samples from a model, with what they are of and what they cost."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.words import understood
from undiffuse.core import arguments, registry
from undiffuse.core.errors import Refused
from undiffuse.core.sampler import Sampler
from undiffuse.sampling.classifier_guidance import led
from undiffuse.sampling.conditions import captions, numbers
from undiffuse.sampling.controls import WEIGHT
from undiffuse.sampling.data_frame import columns
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.guidance import resolve_guidance
from undiffuse.sampling.minimum_bayes_risk import consensus
from undiffuse.sampling.plan import Plan, plan
from undiffuse.sampling.run import Run
from undiffuse.sampling.steering import Steering

Advance = Callable[[int, int], None]  # told (done, total)
Read = Callable[[np.ndarray], str]  # tokens (length,) to a text
LABEL = "label"  # the condition that counts classes


@dataclass(frozen=True)
class SampleRequest:
    """How to sample; whatever is left out is as the run's recipe says.

    sampler: a sampler's name; settings: `field=value` of it, or of the recipe's own (`sampler.field=value` too).
    steering: guidance, its interval and rescale, thresholding, and of tokens truncation.
    label: a class, by number or name; None: the classes in turn. told: other conditions, (name or kind, word), see
    `understood`. given: still others, one value for all samples or n of them, see `examples`. batch: at most so many
    at once; changes no sample. classifier: what guides to the label, which the model is then not told; form: how, see
    `Generator.sample`. control, control_weight: what texts should be, see `controlled`. mbr: draw so many texts for
    each one and keep that which is nearest to the others, see `consensus`.
    indices: which samples, () for the first ones.
    """

    seed: int = 0
    sampler: str | None = None
    settings: Sequence[str] = ()
    steps: int | None = None
    steering: Steering = field(default_factory=Steering)
    label: str | int | None = None
    batch: int | None = None
    told: Sequence[tuple[str, str]] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    classifier: Run | None = None
    form: str = "guess"
    control: Sequence[str] = ()
    control_weight: float = WEIGHT
    mbr: int = 1
    indices: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.mbr < 1:
            raise Refused(f"mbr is how many texts each one is chosen from, 1 or more, not {self.mbr}")
        wrong = next((setting for setting in self.settings if "=" not in setting), None)
        if wrong is not None:
            raise Refused(
                f"cannot read the setting {wrong!r}; write field=value with a field of the sampler, for example eta=0.5"
            )

    @property
    def overrides(self) -> list[str]:
        """The settings as a recipe takes them."""
        return [f"sampler.{setting.removeprefix('sampler.')}" for setting in self.settings]


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    x: (n, *shape) in the data's dtype and range. labels: (n,) class numbers, or None. calls: network calls a sample.
    steering: what it came to, the recipe's part included. frames: (steps + 1, n, *shape), from noise to x, where they
    were asked for. columns: the names of a table's columns, and label: of the one that held the classes. by: the
    classifier that guided, and how, in words. read: of a text's model, what makes texts of tokens. categories: of each
    column the names of its categories, () of numbers; nothing where no column has any. captions: the text that each was
    told, or one for all. model: what drew them.
    """

    x: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    seed: int
    calls: float
    seconds: float
    steering: Steering = field(default_factory=Steering)
    frames: np.ndarray = field(default_factory=lambda: np.empty(0))
    columns: tuple[str, ...] = ()
    label: str = LABEL
    by: str = ""
    read: Read | None = None
    categories: tuple[tuple[str, ...], ...] = ()
    captions: tuple[str, ...] = ()
    model: Generator | None = None

    @property
    def is_image(self) -> bool:
        return self.x.ndim == 4

    @property
    def texts(self) -> list[str]:
        """The samples as they read; nothing where they are no text."""
        return [] if self.read is None else list(map(self.read, self.x))

    @property
    def are_points(self) -> bool:
        """Whether a sample is a line of numbers; tokens are integers."""
        return self.x.ndim == 2 and self.x.dtype.kind == "f"


def dtype(model: Generator) -> str:
    """The dtype of the data that a model was trained on, in which its samples come."""
    return str(model.facts.get("data", {}).get("dtype", "float32"))


def classes(model: Generator, wish: SampleRequest) -> tuple[str, ...]:
    """The names of the classes that labels are of: the classifier's, where one guides."""
    return model.classes if wish.classifier is None else wish.classifier.classes


def reader(codec: Codec) -> Read | None:
    """What makes texts of the tokens that a codec knows to spell; None for all other codecs."""
    return codec.reader


def has_tokens(model: Generator) -> bool:
    """Whether the model's samples are lines of tokens; levels come back as pictures."""
    return model.codec.tokens and len(model.shape) == 1


def draw(model: Generator, n: int, wish: SampleRequest, progress: Advance = lambda done, total: None) -> Drawn:
    """n samples; sample i depends on (seed, i) and its class only. Raises Refused for what the model cannot do."""
    if wish.mbr > 1 and reader(model.codec) is None:
        raise Refused(f"mbr = {wish.mbr} chooses among texts, and this run makes none")
    model, asked = _asked(model, n * wish.mbr, wish)
    with _measured(model, n) as cost:
        x = model.sample(n * wish.mbr, **asked, batch=wish.batch, progress=progress).numpy()
    if wish.mbr > 1:
        x = x[consensus(x, wish.mbr, model.codec.pad)]
        asked |= {LABEL: asked[LABEL][:: wish.mbr]} if isinstance(asked.get(LABEL), np.ndarray) else {}
    return _drawn(model, x, asked, wish, cost)


def unroll(model: Generator, n: int, wish: SampleRequest, progress: Advance = lambda done, total: None) -> Drawn:
    """The same n samples with every state on the way from noise; all n are drawn together."""
    if wish.mbr > 1:
        raise Refused(f"mbr = {wish.mbr} chooses among finished texts: a way from noise is that of one text")
    model, asked = _asked(model, n, wish)
    steps = walked(model, n, wish).steps
    frames: list[np.ndarray] = []
    with _measured(model, n) as cost:
        for frame in model.trajectory(n, **asked):
            frames.append(frame.numpy())
            progress(len(frames) - 1, steps)
    return _drawn(model, frames[-1], asked, wish, cost, np.stack(frames))


def walked(model: Generator, n: int, wish: SampleRequest) -> Plan:
    """The sampler and the times that n samples take; `unroll` has a state at each of the times."""
    model, asked = _asked(model, n, wish)
    return plan(model.recipe, model.denoiser.process, asked["sampler"], wish.steps, None)


def in_turn(which: np.ndarray, classes: Sequence[str], each: int = 1) -> np.ndarray:
    """The class of each of these samples where none was asked for, by name: the first, the next ... and again, `each`
    times each, so that it depends on the sample's number only.
    """
    return np.array(classes)[which // each % len(classes)]


def _asked(model: Generator, n: int, wish: SampleRequest) -> tuple[Generator, dict[str, Any]]:
    """The model with its recipe's sampler changed as wished, and the keywords of `sample`."""
    if n < 1:
        raise Refused(f"the number of samples must be at least 1, not {n}")
    arguments.whole(n, "n", 1, arguments.INDICES)
    sampler: Sampler | None = None
    if wish.sampler is not None:
        table = model.recipe.override(["sampler.name=", *wish.overrides])["sampler"]  # another name empties the table
        sampler = registry.build("samplers", {**table, "name": wish.sampler})
    elif wish.settings:
        if "name" not in model.recipe["sampler"]:
            raise Refused(
                f"{wish.settings[0]} is for a sampler, and the run's recipe names none: name one with --sampler"
            )
        model = replace(model, recipe=model.recipe.override(wish.overrides))
    which = _which(n, wish)
    asked: dict[str, Any] = {
        "seed": wish.seed,
        "indices": which,
        "sampler": sampler,
        "steps": wish.steps,
        **vars(wish.steering),
    }
    if wish.classifier is not None:
        asked |= {"classifier": wish.classifier, "form": wish.form}
    if wish.control:
        asked |= {"control": list(wish.control), "control_weight": wish.control_weight}
    if wish.label is not None:
        asked[LABEL] = wish.label
    elif wish.classifier is not None or LABEL in model.conditions:
        asked[LABEL] = in_turn(which, classes(model, wish), wish.mbr)
    told = understood(model, wish.told)
    if LABEL in told and wish.label is not None:
        raise Refused(f"{LABEL!r} is given twice")
    return model, {**asked, **wish.given, **told}


def _which(n: int, wish: SampleRequest) -> np.ndarray:
    """Which samples n of them are, those that each of mbr texts is chosen from beside each other."""
    if not wish.indices:
        return np.arange(n)
    return (np.asarray(wish.indices)[:, None] * wish.mbr + np.arange(wish.mbr)).reshape(-1)


def _drawn(
    model: Generator,
    x: np.ndarray,
    asked: dict[str, Any],
    wish: SampleRequest,
    cost: list[float],
    frames: np.ndarray | None = None,
) -> Drawn:
    named = str(model.recipe["data"].get(LABEL) or LABEL)
    known, label = classes(model, wish), asked.get(LABEL)
    if wish.classifier is None:
        given = [name for name in model.conditions if asked.get(name) is not None]
        found, by = resolve_guidance(model, wish.steering, given), ""
    else:
        found, by = led(model, wish.steering), f"by {wish.classifier.recipe.name} (form {wish.form})"
    by = ", ".join(filter(None, [by, *wish.control, f"each of {wish.mbr}" if wish.mbr > 1 else ""]))
    labels = None if label is None else np.array(numbers(label, len(x), known, LABEL))
    drawn = Drawn(x, labels, known, wish.seed, cost[0], cost[1], found, columns=columns(model), label=named, by=by)
    drawn = replace(drawn, read=reader(model.codec), categories=model.codec.categories, model=model)
    drawn = replace(drawn, captions=captions(model.conditions, asked))
    return drawn if frames is None else replace(drawn, frames=frames)


@contextmanager
def _measured(model: Generator, n: int) -> Iterator[list[float]]:
    """Fills the yielded list with network calls a sample and seconds, once the work is done."""
    rows = 0

    def count(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal rows
        rows += len(inputs[0])

    cost: list[float] = []
    hook = model.denoiser.network.register_forward_pre_hook(count)
    start = time.perf_counter()
    try:
        yield cost
    finally:
        hook.remove()
    cost += [rows / n, time.perf_counter() - start]
