"""Batches of training data, computed from the step alone, so that a resumed run sees the same ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.values import Values, as_tensor
from undiffuse.core.broadcast import column
from undiffuse.core.objective import Batch
from undiffuse.core.permutation import Permutation
from undiffuse.core.random import Random

ORDER, FLIP, DROP, ENCODE, DRAW, CROP, AUGMENT = 0, 1, 2, 7, 8, 11, 12  # independent streams of one seed
CPU = torch.device("cpu")
SHARE = 0.25  # of a device's free memory that the data may take; more stays where it is
BLOCK = 2**26  # bytes that are read together
AXES = {False: (), True: (-1,), "horizontal": (-1,), "vertical": (-2,), "both": (-1, -2)}
Flip = bool | Literal["horizontal", "vertical", "both"]


class TrainingRows(Protocol):
    """An array (count, *shape), or rows of one that lies on the disk and are read when they are asked for."""

    @property
    def shape(self) -> Sequence[int]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, which: Any, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Batches:
    """A data set dealt out in batches: every epoch is a fresh permutation, and a batch may span two epochs.

    x: (count, *shape) in the data's dtype: a tensor, or rows on a disk. conditions: (count, ...) each. size: samples a
    step. drop: the chance that a sample's conditions are hidden, all together (the mask `drop`, left out if 0), or of
    each by its name, each with chances of its own (masks by name). flip: mirror left to right (True or "horizontal"),
    top to bottom ("vertical"), or independently both, each with chance 1/2. mirrors: what mirrors the values of a
    condition along an axis, by its name, see `ConditionKind.mirror`; draws: what training makes of its values each
    time, see `ConditionKind.drawn`; augments: what changes the items and says how, see `ConditionKind.augmented`.
    crop: what cuts parts out of items and their conditions, see `Crops`. versions: `Codec.prepare` has been done for
    x, which has each item so often, in all its mirror images, see `training.prepared`; 0: these are the items
    themselves.
    """

    x: Tensor | TrainingRows
    conditions: Mapping[str, Values]
    codec: Codec
    size: int
    random: Random
    drop: float | Mapping[str, float] = 0.0
    flip: Flip = False
    mirrors: Mapping[str, Callable[[Tensor, int], Tensor]] = field(default_factory=dict)
    draws: Mapping[str, Callable[[Tensor, Random], Tensor]] = field(default_factory=dict)
    augments: Mapping[str, Callable[[Tensor, Random], tuple[Tensor, Tensor]]] = field(default_factory=dict)
    crop: Callable[..., tuple[Tensor, dict[str, Any]]] | None = None
    versions: int = 0
    device: torch.device = CPU

    @classmethod
    def of(
        cls, x: TrainingRows | Tensor, conditions: Mapping[str, Any], codec: Codec, size: int, seed: int, **options: Any
    ) -> Self:
        """Batches of arrays; one that lies on the disk stays there. conditions: arrays, or what `tensors` gives."""
        given = {
            name: as_tensor(values) if isinstance(values, np.ndarray) else values for name, values in conditions.items()
        }
        if isinstance(x, np.ndarray) and not isinstance(x, np.memmap):
            x = as_tensor(x)
        return cls(x, given, codec, size, Random(seed), **options)

    def __len__(self) -> int:
        return len(self.x) // (self.versions or 1)

    @property
    def held(self) -> bool:
        """Whether the items are in the device's memory, so that a batch costs nothing to fetch."""
        return isinstance(self.x, Tensor) and self.x.device.type == self.device.type

    def to(self, device: torch.device) -> Self:
        """The same for a device, with the items in its memory if they take a small part of it."""
        x = _onto(self.x, device) if _small(self.x, device) else self.x
        return replace(
            self, x=x, device=device, conditions={name: values.to(device) for name, values in self.conditions.items()}
        )

    def indices(self, step: int) -> Tensor:
        """The samples of step 0, 1 ...: positions step * size ... in the endless sequence of permutations; (size,)."""
        places = torch.arange(step * self.size, (step + 1) * self.size)
        epochs, within = places // len(self), places % len(self)
        seed = self.random.fold(ORDER).seed
        dealt = [_permutation(seed, epoch, len(self))(within[epochs == epoch]) for epoch in epochs.unique().tolist()]
        return torch.cat(dealt)

    def fetch(self, which: Tensor) -> Tensor:
        """The items at these indices, as they are, on the device."""
        if isinstance(self.x, Tensor):
            return self.x[which.to(self.x.device)].to(self.device)
        return as_tensor(self.x[which.numpy()]).to(self.device)

    def deal(self, step: int, rows: slice = slice(None)) -> "Dealt":
        """Which items a part of the batch of step 0, 1 ... has, and the items as they are."""
        which = self.indices(step)[rows]
        place = which
        if self.versions:
            mirrored = self._flips(step, torch.arange(self.size)[rows])
            place = which * self.versions + sum(each.long() << i for i, (_, each) in enumerate(mirrored))
        return Dealt(which, self.fetch(place))

    def encoded(self, which: Tensor) -> Tensor:
        """The items at these indices, encoded; none is mirrored, and what is drawn is always the same."""
        x, drawn = self.fetch(which * (self.versions or 1)), self.random.fold(ENCODE).at(which)
        return self.codec.finish(x, drawn, **{name: self.conditions[name][which] for name in self.codec.adds})

    def at(self, step: int, rows: slice = slice(None), dealt: "Dealt | None" = None) -> Batch:
        """The batch of step 0, 1 ..., encoded, with its conditions; rows: the part that this process trains on.

        dealt: what `deal` gave for these rows, if that is there already.
        """
        which, x = dealt or self.deal(step, rows)
        slots = torch.arange(self.size)[rows]
        conditions = {name: values[which.to(self.device)] for name, values in self.conditions.items()}
        for axis, mirrored in self._flips(step, slots, x.device):
            x = x if self.versions else torch.where(column(mirrored, x), x.flip(axis), x)
            for name, mirror in self.mirrors.items():
                values = conditions[name]
                conditions[name] = torch.where(column(mirrored, values), mirror(values, axis), values)
        if self.crop is not None:
            x, conditions = self.crop(x, conditions, self.random.fold(CROP, step).at(slots))
        for name, augment in self.augments.items():
            x, conditions[name] = augment(x, self.random.fold(AUGMENT, step).at(slots))
        conditions = self.drawn(conditions, self.random.fold(DRAW, step).at(slots))
        drawn = self.random.fold(ENCODE, step).at(slots)
        encoded = self.codec.finish(x, drawn, **self.codec.told(conditions))
        return Batch.of(encoded, conditions | self._hidden(step, slots), self.codec)

    def drawn(self, conditions: Mapping[str, Tensor], random: Random) -> dict[str, Tensor]:
        """The conditions of some items as training sees them once."""
        made = {
            name: draw(conditions[name], random.fold(i)) for i, (name, draw) in enumerate(sorted(self.draws.items()))
        }
        return {**conditions, **made}

    def _flips(self, step: int, slots: Tensor, device: torch.device = CPU) -> Iterator[tuple[int, Tensor]]:
        """The axes along which items are mirrored, each with booleans (k,) that say which are."""
        for number, axis in enumerate(AXES[self.flip]):
            chance = self.random.fold(FLIP, step, *([number] if number else [])).at(slots)
            yield axis, chance.integers(2, (len(slots),), device=device) == 1

    def _hidden(self, step: int, slots: Tensor) -> dict[str, Any]:
        """The masks of what is hidden: from one stream where it is one, else from one a condition."""
        if not self.conditions or not self.drop:
            return {}
        random = self.random.fold(DROP, step)
        if not isinstance(self.drop, Mapping):
            return {"drop": self._chosen(random, slots, self.drop)}
        names = sorted(self.conditions)
        rates = [(i, name, self.drop.get(name, 0.0)) for i, name in enumerate(names)]
        return {"drop": {name: self._chosen(random.fold(i), slots, rate) for i, name, rate in rates if rate}}

    def _chosen(self, random: Random, slots: Tensor, rate: float) -> Tensor:
        return random.at(slots).uniform((len(slots),), self.device) < rate


class Dealt(NamedTuple):
    """Indices into the data, (k,), and the items at them, (k, *shape), on the device."""

    which: Tensor
    x: Tensor

    def part(self, rows: slice) -> "Dealt":
        """Some of them."""
        return Dealt(self.which[rows], self.x[rows])


class Ahead:
    """Fetches the next step's items while this step is computed, where fetching takes time."""

    def __init__(self, data: Batches, rows: slice) -> None:
        self._data, self._rows = data, rows
        self._pool = None if data.held else ThreadPoolExecutor(1, thread_name_prefix="undiffuse-data")
        self._next: dict[int, Future[Dealt]] = {}

    def __call__(self, step: int) -> Dealt:
        """The items of this step; those of the next are on their way when it returns."""
        if self._pool is None:
            return self._data.deal(step, self._rows)
        future = self._next.pop(step, None)
        dealt = future.result() if future else self._data.deal(step, self._rows)
        self._next = {step + 1: self._pool.submit(self._data.deal, step + 1, self._rows)}
        return dealt


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> Permutation:
    return Random(seed).fold(epoch).permutation(count)


def _small(x: Tensor | TrainingRows, device: torch.device) -> bool:
    """Whether the items are to lie in the device's memory: those on a disk stay there unless it is a GPU's."""
    if device.type != "cuda":
        return isinstance(x, Tensor)
    each = x[:1] if isinstance(x, Tensor) else as_tensor(x[:1])
    return len(x) * each.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]


def _onto(x: Tensor | TrainingRows, device: torch.device) -> Tensor:
    """The items in the device's memory; rows are read a few at a time, so that there is never a second copy of all."""
    if isinstance(x, Tensor):
        return x.to(device)
    first = as_tensor(x[:1])
    there = torch.empty((len(x), *first.shape[1:]), dtype=first.dtype, device=device)
    step = max(1, BLOCK // first.nbytes)
    for start in tqdm(range(0, len(x), step), desc="loading", unit="block", delay=2, leave=False):
        there[start : start + step] = as_tensor(x[start : start + step]).to(device)
    return there
