"""Batches of the user's own PyTorch Dataset or DataLoader, keyed by the step, so that a run can be resumed."""

import logging
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, SequentialSampler, default_collate

from undiffuse.core import registry
from undiffuse.core.arguments import shown
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.generators import seeded
from undiffuse.core.objective import Batch, Objective
from undiffuse.core.random import Random
from undiffuse.recipes.settings import Train
from undiffuse.training.batches import CPU, Batches

ITEM = 6  # the stream of random numbers that an item's own transforms draw from


class Items(NamedTuple):
    """The indices of items, and the items as their Dataset gives them."""

    which: Tensor
    x: list[Any]

    def part(self, rows: slice) -> "Items":
        """Some of them."""
        return Items(self.which[rows], self.x[rows])


@dataclass(frozen=True, eq=False)
class OwnData:
    """Every epoch is a fresh permutation of the items; what an item's transforms draw by PyTorch's global generator is
    keyed by step and place, so that it resumes too.

    An item is a tensor, (tensor, label), or a dictionary with "x" and conditions by name. together: makes a batch of a
    list of items. held: nothing is fetched ahead, since a person's code may draw random numbers.
    """

    dataset: Dataset[Any]
    together: Callable[[list[Any]], Any]
    size: int
    random: Random
    device: torch.device = CPU
    held: bool = field(default=True, init=False)

    def __len__(self) -> int:
        return len(cast("Sized", self.dataset))

    def to(self, device: torch.device) -> Self:
        """The same for a device."""
        return type(self)(self.dataset, self.together, self.size, self.random, device)

    def deal(self, step: int, rows: slice = slice(None)) -> Items:
        """The items of a part of the batch of step 0, 1 ..."""
        order = Batches(torch.empty(len(self), dtype=torch.float32), {}, cast("Any", None), self.size, self.random)
        which, slots = order.indices(step)[rows], range(self.size)[rows]
        items, seed = list[Any](), self.random.fold(ITEM, step).seed
        for slot, index in zip(slots, which.tolist(), strict=True):
            with seeded((seed + slot) % 2**63, CPU):
                items.append(self.dataset[index])
        return Items(which, items)

    def at(self, step: int, rows: slice = slice(None), dealt: Items | None = None) -> Batch:
        """The batch of step 0, 1 ...; rows: the part that this process trains on. dealt: what `deal` gave for it."""
        made = self.together((dealt or self.deal(step, rows)).x)
        x, cond = _split(made)
        if not isinstance(x, Tensor) or x.dtype in (torch.uint8, torch.bool):
            what = f"{x.dtype}" if isinstance(x, Tensor) else shown(x)
            raise Refused(
                f"training takes tensors of floats (about -1 to 1) or of tokens (int64), and an item of the data is "
                f"{what}: convert it in the Dataset"
            )
        return Batch.of(x.to(self.device), {name: value.to(self.device) for name, value in cond.items()})


def batches_of(module: Any, objective: Any, data: Any, settings: Train) -> Any:
    """What training deals out: batches as they are, else a Dataset or DataLoader of PyTorch, see `of_torch`.

    Raises Refused for a module and an objective that are none, and for a module that the objective cannot train.
    """
    if not isinstance(module, nn.Module) or not isinstance(objective, Objective):
        raise Refused(
            "Training takes a torch.nn.Module, an objective such as undiffuse.objectives.Denoising(), data and "
            f"undiffuse.Train(steps=...), and these are {shown(module)} and {shown(objective)}"
        )
    if not isinstance(module, objective.trains):
        name, wanted = registry.name_of(objective), objective.trains.__name__
        denoises = issubclass(objective.trains, Denoiser)
        wrap = ': wrap it, undiffuse.Predictor(network, process, "noise")' if denoises else ""
        raise Refused(f"objective {name!r} trains a {wanted}, and the module is a {type(module).__name__}{wrap}")
    if isinstance(data, Batches):
        return data
    _refuse_untrainable(module, settings)
    return of_torch(data, settings)


def refuse_inference_mode() -> None:
    """Raises Refused where PyTorch takes no gradients, whoever asks for them."""
    if torch.is_inference_mode_enabled():
        raise Refused("training needs gradients, and inside torch.inference_mode() there are none: call it outside")


def _refuse_untrainable(module: nn.Module, settings: Any) -> None:
    """Raises Refused where nothing could be learned: without settings, gradients, or weights that take any."""
    if not isinstance(settings, Train):
        raise Refused(f"the settings of Training are undiffuse.Train(steps=1000), say, not {shown(settings)}")
    refuse_inference_mode()
    if not any(weight.requires_grad for weight in module.parameters()):
        raise Refused("the module has no weights to train: all are frozen, or there are none (module.requires_grad_())")


def of_torch(data: Any, settings: Train) -> OwnData:
    """A Dataset, or the Dataset and `collate_fn` of a DataLoader, for training.

    Raises Refused for anything else, for data without an order, and for loaders whose order or batch is another one.
    """
    random = Random(settings.seed)
    loader = cast("DataLoader[Any]", data) if isinstance(data, DataLoader) else None
    dataset: Any = loader.dataset if loader else data
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise Refused(
            "Training takes a torch Dataset with __len__ and __getitem__, or a DataLoader of one, so that a run can "
            f"go on where it stopped, not {shown(dataset)}"
        )
    if not len(dataset):
        raise Refused("the Dataset has no items")
    if loader is None:
        return OwnData(dataset, default_collate, settings.batch, random)
    if not isinstance(loader.sampler, RandomSampler | SequentialSampler):
        raise Refused(
            f"Training shuffles by itself, and the DataLoader has a sampler of its own, "
            f"{type(loader.sampler).__name__}: give it without one"
        )
    if loader.batch_size != settings.batch:
        raise Refused(
            f"the DataLoader has batches of {loader.batch_size}, and Train of {settings.batch}: make them equal"
        )
    if loader.num_workers:
        logging.getLogger("undiffuse").warning(
            "num_workers = %d of the DataLoader is left out: items are read in this process, one after another, so "
            "that what their transforms draw is the same when a run goes on",
            loader.num_workers,
        )
    return OwnData(dataset, loader.collate_fn, settings.batch, random)


def _split(made: Any) -> tuple[Any, Mapping[str, Tensor]]:
    """(x, conditions) of a collated batch."""
    if isinstance(made, Mapping):
        parts = cast("Mapping[str, Any]", made)
        if "x" not in parts:
            raise Refused(f"an item that is a dictionary needs 'x', the data; this one has: {', '.join(parts)}")
        return parts["x"], {name: value for name, value in parts.items() if name != "x"}
    if isinstance(made, tuple | list):
        parts = cast("list[Any]", list(made))  # pyright: ignore[reportUnknownArgumentType]
        if len(parts) == 1:
            return parts[0], {}
        if len(parts) == 2 and isinstance(parts[1], Tensor):
            return parts[0], {"label": parts[1]}
        raise Refused("an item is a tensor, (tensor, label), or a dictionary with 'x' and conditions by name")
    return made, {}
