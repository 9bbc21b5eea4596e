"""One optimiser step: the loss of a batch, its gradient over all parts and processes, and new weights."""

from dataclasses import replace
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from undiffuse.core.devices import out_of_memory
from undiffuse.core.errors import Refused
from undiffuse.core.generators import seeded
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.optimiser import Optimiser
from undiffuse.core.random import Random
from undiffuse.networks.precision import autocast
from undiffuse.objectives.timed import Timed
from undiffuse.recipes.settings import Train
from undiffuse.training.batches import Ahead, Dealt
from undiffuse.training.distributed import average
from undiffuse.training.loss_history import History
from undiffuse.training.memory import largest
from undiffuse.training.players import Side, alone, sides
from undiffuse.training.precision import choose

NOISE, CHANCE = 4, 5  # streams of random numbers: the objective's own, and that of layers such as dropout


class Step:
    """Computes the steps of a run, which are numbered from 0: first `gradient`, then `update`.

    A batch in parts, or among processes, has the gradient of the whole batch, to rounding: every item's data, noise and
    time are keyed by its place in the batch.
    dtype: what is multiplied in, the weights staying float32; chosen with the first gradient, unless it is set before.
    history: the last losses at each time, where the objective's times are drawn by them; else None.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        objective: Objective,
        data: Any,
        settings: Train,
        optimiser: Optimiser,
    ) -> None:
        self.accelerator, self.settings = accelerator, settings
        self.module, self.objective, self.data = module, objective, data
        self.history = History.of(objective, module)
        self._noted: list[Tensor] = []  # the losses of the parts of this step, unweighted
        with seeded(settings.seed, accelerator.device):
            self.sides = sides(objective, module, optimiser, settings)
        self.seen: dict[str, Tensor] = {}  # of each player in this step, (loss, norm)
        self._parts = _parts(settings, accelerator.num_processes, accelerator.process_index, objective.whole_batch)
        self._rows = slice(self._parts[0].start, self._parts[-1].stop)
        self._fetch = Ahead(data, self._rows)
        self.dtype: torch.dtype | None = None

    def gradient(self, step: int) -> Tensor:
        """Compute the gradient of a step and clip it; returns the loss and the gradient's norm before, (2,).

        Players with several updates have taken all but the last then.
        Raises Refused where memory runs out, with the part of the batch that fits.
        """
        if self.dtype is None:
            self.choose()
        dealt = self._fetch(step)
        self._noted = []
        try:
            due = [side for side in self.sides if side.due(step)]
            for side in due:
                for update in range(1, side.updates):
                    self._gradient(side, step, dealt, update)
                    side.move(self.settings, step)
            self.seen = {side.name: self._gradient(side, step, dealt) for side in due}
        except RuntimeError as error:
            if out_of_memory(error):
                raise self._too_large(step, dealt) from error
            raise
        return self.seen[RUN]

    @property
    def precision(self) -> str:
        """The dtype's name, for a checkpoint and for people."""
        return str(self.dtype or "auto").removeprefix("torch.")

    def choose(self) -> str:
        """Choose the dtype; returns why it is this one, in words."""
        self.dtype, why = choose(
            self.settings.precision, self.accelerator, self.module, self.objective, self.data, self.settings.compile
        )
        self._clean()
        return why

    @torch.no_grad()
    def loss(self, step: int) -> float:
        """The loss of the batch of a step, without a gradient."""
        dealt = self.data.deal(step, self._rows)
        return sum(self._loss(step, dealt, part).float().item() for part in self._parts)

    def update(self, step: int) -> float:
        """Take the step with the gradient there is; returns the learning rate."""
        lr, *_ = [side.move(self.settings, step) for side in self.sides if side.due(step)]
        if self.history is not None:
            batch = self.settings.batch
            random = self.data.random.fold(NOISE, step).at(torch.arange(batch))
            noted = torch.cat(self._noted)
            losses: Any = noted if self.objective.whole_batch else self.accelerator.gather(noted)  # by place
            self.history.add(self.history(random.fold(0), batch)[0], losses.cpu())
        return lr

    def encoded(self, step: int) -> Tensor:
        """What the network saw of the data at a step, before noise."""
        return self.data.at(step, self._rows).x

    def _gradient(self, side: Side, step: int, dealt: Dealt, update: int = 0) -> Tensor:
        """The loss that a player lowers and the norm of its gradient before it is clipped, (2,).

        update: 1, 2 ... for one before the last.
        """
        with alone(side, self.sides):
            losses = [self._part(step, dealt, part, side.name, update) for part in self._parts]
        loss = average(self.accelerator, torch.stack(losses).sum(), side.parameters)
        norm = self.accelerator.clip_grad_norm_(side.parameters, side.clip or torch.inf)
        return torch.stack([loss, torch.as_tensor(norm)])

    @torch.enable_grad()  # whoever trains has not asked for a loss alone
    def _part(self, step: int, dealt: Dealt, part: slice, player: str = RUN, update: int = 0) -> Tensor:
        """Add the gradient of a part of the batch; returns its share of the loss."""
        loss = self._loss(step, dealt, part, player, update)
        self.accelerator.backward(loss)
        return loss.detach().float()

    def _loss(self, step: int, dealt: Dealt, part: slice, player: str = RUN, update: int = 0) -> Tensor:
        random, offset, early = self.data.random, self._rows.start, (-update,) if update else ()
        batch = self.data.at(step, part, dealt.part(slice(part.start - offset, part.stop - offset)))
        dtype, device = self.dtype or torch.float32, self.accelerator.device
        if device.type == "cpu" and dtype is torch.float32 and batch.x.ndim == 4:  # a tenth faster, slower in bfloat16
            batch = replace(batch, x=batch.x.contiguous(memory_format=torch.channels_last))
        process = 0 if self.objective.whole_batch else self.accelerator.process_index
        path = (process, *([part.start] if len(self._parts) > 1 else []))
        chance = random.fold(CHANCE, step, *path, *early).seed
        slots = torch.arange(part.start, part.stop)
        with seeded(chance, device), autocast(dtype, device):
            loss = self._losses(batch, random.fold(NOISE, step, *early).at(slots), step, player).mean()
        return loss / len(self._parts)

    def _losses(self, batch: Batch, random: Random, step: int, player: str) -> Tensor:
        """The loss of each item, (batch,), weighted where its time was drawn by importance."""
        if self.history is None or player != RUN:
            return self.objective.loss(self.module, batch, random, step, player)
        t, weight = self.history(random.fold(0), len(batch))
        losses = cast("Timed", self.objective).at(t, self.module, batch, random.fold(1))
        self._noted.append(losses.detach().float())
        return weight.to(losses) * losses

    def _clean(self) -> None:
        for side in self.sides:
            side.optimiser.zero_grad()

    def _too_large(self, step: int, dealt: Dealt) -> Refused:
        """What to say where memory ran out: which part of the batch fits."""

        def attempt(size: int) -> None:
            self._part(step, dealt, slice(self._rows.start, self._rows.start + size))

        size, device = len(dealt.which) // len(self._parts), self.accelerator.device
        fits = largest(attempt, size, self._clean)
        if fits is None:
            return Refused(f"{size} items do not fit the memory of {device}, nor do fewer: take a smaller network")
        return Refused(
            f"a batch of {size} does not fit the memory of {device}, and {fits} does: give "
            f"--set train.accumulate={self.settings.accumulate * size // fits}, which changes nothing but the time, "
            f"or --set train.batch={self.settings.batch * fits // size}"
        )


def _parts(settings: Train, world: int, rank: int, whole: bool) -> list[slice]:
    """The parts of every batch that a process computes, one after the other; raises Refused if they are not equal, and
    where a batch that must stay whole is in parts.
    """
    if whole:
        if settings.accumulate > 1:
            raise Refused(
                f"train.accumulate = {settings.accumulate} computes a batch in parts, and the items of this "
                "objective's batch depend on one another: leave it at 1, and take a smaller train.batch"
            )
        return [slice(0, settings.batch)]
    if settings.batch % (world * settings.accumulate):
        among = (
            f"{world} processes with {settings.accumulate} parts each" if world > 1 else f"{settings.accumulate} parts"
        )
        raise Refused(f"train.batch = {settings.batch} does not divide into {among} (train.accumulate)")
    size = settings.batch // (world * settings.accumulate)
    first = rank * settings.accumulate
    return [slice(i * size, (i + 1) * size) for i in range(first, first + settings.accumulate)]
