"""The training loop: one optimiser step a turn, and every turn's numbers handed out."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.model.precision import autocast
from undiffuse.model.settings import Train
from undiffuse.training import checkpoint
from undiffuse.training.batches import Batches
from undiffuse.training.chance import seeded
from undiffuse.training.ema import EMA
from undiffuse.training.log import Log
from undiffuse.training.numbers import Numbers
from undiffuse.training.processes import average
from undiffuse.training.rate import rate
from undiffuse.training.state import restore, tensors
from undiffuse.training.stop import Stop

NOISE, CHANCE = 4, 5  # streams of random numbers: the objective's own, and that of layers such as dropout


class Diverged(Refused):
    """The loss stopped being a number."""


class Result(Protocol):
    """What training makes and a run folder keeps."""

    def save(self, folder: Path) -> None: ...


M = TypeVar("M", bound=Result)


class Training(Generic[M]):
    """Trains a module on an objective; iterate over it, or `run()` it.

    for numbers in training: each turn is one step; numbers has step, loss, grad_norm, lr, images_per_second, and
    validation_loss where measured.
    Ctrl-C and SIGTERM finish the step, write the checkpoint and the model, and end the iteration; `stopped` then holds
    the signal.
    Everything random is keyed by (seed, step, sample): a resumed run is the uninterrupted one, on a CPU bit for bit.
    Raises Diverged where the loss is not a number.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Callable[..., Tensor],
        data: Batches,
        settings: Train,
        result: Callable[[nn.Module, int], M],
        *,
        folder: Path | None = None,
        validate: Callable[[nn.Module], Mapping[str, Any]] | None = None,
        preview: Callable[[M, int], None] | None = None,
    ) -> None:
        """result: makes what is saved of the averaged module and the step. folder: where, None writes nothing.

        validate: numbers (and lists of them) about the averaged module. preview: shows what the result can do.
        """
        self.settings, self.folder, self.step, self.seconds = settings, folder, 0, 0.0
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.objective, self.data = objective, data.to(self.device)
        self._result, self._validate, self._preview = result, validate, preview
        self.module = module.to(self.device).train()
        self.ema = EMA.of(self.module, settings)
        self._parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self._parameters,
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=self.device.type in ("cuda", "cpu"),
        )
        if settings.compile:
            self.module.compile()
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        if settings.batch % world:
            raise Refused(f"train.batch = {settings.batch} does not divide among {world} processes")
        self._rows = slice(rank * settings.batch // world, (rank + 1) * settings.batch // world)
        self._slots = torch.arange(settings.batch)[self._rows]
        self._autocast = autocast(settings.precision, self.device, self.module)
        self.stop, self._log = Stop(), None
        self._saved, self._told = -1, False
        self._pending: list[float | Tensor] = []  # losses since the last line of the log
        self._recent: deque[float] = deque(maxlen=20)  # seconds of the last steps

    @property
    def stopped(self) -> int | None:
        """The signal that ended the run before its last step, or None."""
        return self.stop.signal

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.settings.steps

    @property
    def result(self) -> M:
        """What has been made so far, with the averaged weights."""
        return self._result(self.ema.module, self.step)

    def resume(self) -> Self:
        """Go on from the folder's newest checkpoint, if there is one; raises Refused if it is broken."""
        path = self.folder and checkpoint.newest(self.folder)
        if path:
            held, state = checkpoint.load(path)
            restore(held, self.module, self.ema.module, self.optimiser, f"checkpoint {path}")
            self.step, self.seconds, self._pending = int(state["step"]), float(state["seconds"]), list(state["pending"])
            self._saved = self.step
        return self

    def run(self, progress: bool = True) -> M:
        """Train to the end, or until stopped, behind a bar with rate and time left; returns the result."""
        from tqdm import tqdm

        with tqdm(
            total=self.settings.steps, initial=self.step, disable=not progress, unit="step", desc="training"
        ) as bar:
            for numbers in self:
                bar.update()
                if numbers["step"] % 10 == 0:
                    bar.set_postfix(loss=f"{numbers['loss']:.4f}", images_s=f"{numbers['images_per_second']:.0f}")
        return self.result

    def __iter__(self) -> Iterator[Numbers]:
        with self.stop:
            while True:
                try:
                    yield next(self)
                except StopIteration:
                    return

    def __next__(self) -> Numbers:
        if self.finished or self.stopped:
            self._end()
            raise StopIteration
        if self._log is None:
            self._log = Log(self.folder if self.accelerator.is_main_process else None, self.step)
        with self.stop:
            started = time.perf_counter()
            numbers = self._turn()
            self._recent.append(time.perf_counter() - started)
            self.seconds += self._recent[-1]
            return self._after(numbers)

    def _turn(self) -> dict[str, float | Tensor]:
        """One optimiser step."""
        settings, random = self.settings, self.data.random
        x_0, cond = self.data.at(self.step, self._rows)
        lr = rate(settings, self.step + 1)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        chance = random.fold(CHANCE, self.step, self.accelerator.process_index).seed
        with seeded(chance, self.device), self._autocast:
            loss = self.objective(self.module, x_0, random.fold(NOISE, self.step).at(self._slots), cond).mean()
        if (
            self.device.type == "cpu"
        ):  # elsewhere asking would wait for the device: there it is asked when a line is written
            self._refuse_nan(loss.item(), self.step + 1)
        self.accelerator.backward(loss)
        loss = average(self.accelerator, loss.detach(), self._parameters)
        norm = self.accelerator.clip_grad_norm_(self._parameters, settings.clip or math.inf)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        self.ema.update(self.step)
        return {"step": self.step, "loss": loss, "grad_norm": torch.as_tensor(norm), "lr": lr}

    def _after(self, numbers: dict[str, float | Tensor]) -> Numbers:
        """Whatever is due after a step: numbers, validation, a line in the log, a checkpoint, a preview."""
        settings = self.settings
        numbers["images_per_second"] = settings.batch * len(self._recent) / sum(self._recent)
        self._pending.append(numbers["loss"])
        measured = self._validate(self.ema.module) if self._validate and self._due(settings.validate_every) else {}
        if measured or self.step % settings.log_every == 0 or self.finished:
            self._write(numbers, measured)
        if self._due(settings.checkpoint_every):
            self.save()
        if self._preview and self._due(settings.preview_every) and self.accelerator.is_main_process:
            self._preview(self.result, self.step)
        if self.stopped:
            self._end()
        return Numbers({**numbers, **{key: value for key, value in measured.items() if isinstance(value, float)}})

    def _due(self, every: int) -> bool:
        """Whether something that happens every so many steps, and after the last one, happens now; 0 is never."""
        return every > 0 and (self.finished or self.step % every == 0)

    def _end(self) -> None:
        """What is left to do when no step follows: the state on disk, the log closed, and word of how to go on."""
        if self._saved != self.step:
            self.save()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self.stopped and not self._told:
            self._told = True
            again = f"; go on with: undiffuse train {self.folder} --resume" if self.folder else ""
            logging.getLogger("undiffuse").warning(
                "stopped and saved at step %d of %d%s", self.step, self.settings.steps, again
            )

    def _write(self, numbers: Mapping[str, float | Tensor], measured: Mapping[str, Any]) -> None:
        """One line of the log; its loss is the mean since the line before."""
        losses = self._losses()
        line = Numbers({**numbers, "loss": math.fsum(losses) / len(losses), "seconds": self.seconds})
        self._pending = []
        if self._log is not None:
            self._log.write({**line, **measured})

    def _losses(self) -> list[float]:
        """The losses since the last line; raises Diverged if one is no number."""
        if self._pending:
            held = [torch.as_tensor(loss, dtype=torch.float64, device=self.device) for loss in self._pending]
            self._pending = torch.stack(held).tolist()
        losses = [float(loss) for loss in self._pending]
        for back, loss in enumerate(reversed(losses)):
            self._refuse_nan(loss, self.step - back)
        return losses

    def save(self) -> None:
        """Write the checkpoint and the model, and drop old checkpoints."""
        losses = self._losses()
        self._saved = self.step
        if self.folder is None or not self.accelerator.is_main_process:
            return
        held = tensors(self.module, self.ema.module, self.optimiser)
        checkpoint.save(self.folder, self.step, held, {"seconds": self.seconds, "pending": losses})
        self.result.save(self.folder)
        checkpoint.prune(self.folder, self.settings.keep)

    def _refuse_nan(self, loss: float, step: int) -> None:
        if math.isfinite(loss):
            return
        good = self.folder and checkpoint.newest(self.folder)
        there = f"the last good checkpoint is {good}" if good else "there is no checkpoint yet"
        raise Diverged(
            f"the loss is {loss} at step {step}; {there}. "
            "Start anew with a lower train.lr, a longer train.warmup or train.precision=float32"
        )
