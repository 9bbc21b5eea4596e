"""The training loop: one optimiser step a turn, and every turn's numbers handed out."""

import math
import shlex
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch
from filelock import BaseFileLock
from torch import Tensor, nn

from undiffuse.core.devices import on_cpu
from undiffuse.core.errors import Refused
from undiffuse.core.objective import RUN, Objective
from undiffuse.core.optimiser import Optimiser
from undiffuse.networks.precision import named
from undiffuse.optimisers.adamw import AdamW
from undiffuse.progress import LOGGER
from undiffuse.recipes.command import command
from undiffuse.recipes.settings import Train
from undiffuse.training import checkpoint, due, ema_snapshots, progress_display
from undiffuse.training.checkpoint_writer import CheckpointWriter
from undiffuse.training.diagnose import Collapsed, diagnose
from undiffuse.training.distributed import accelerator
from undiffuse.training.ema import EMA
from undiffuse.training.initial_weights import begin
from undiffuse.training.log import Log
from undiffuse.training.loss_watch import LOSS, NORM, LossWatch
from undiffuse.training.numbers import Numbers
from undiffuse.training.own_data import batches_of
from undiffuse.training.state import TrainingState
from undiffuse.training.step import Step
from undiffuse.training.stop import Stop

FIRST = 10  # steps after which a run says how long it will take

M = TypeVar("M")


class Training(Generic[M]):
    """Trains a module on an objective; iterate over it, or `run()` it.

    for numbers in training: each turn is one step; numbers has step, loss, grad_norm, lr, samples_per_second, and
    validation_loss where measured.
    Ctrl-C and SIGTERM finish the step, write the checkpoint and the model, and end the iteration; `stopped` then holds
    the signal. `run()` raises KeyboardInterrupt then, or SystemExit, and returns a whole run's result only.
    Everything random is keyed by (seed, step, sample): a resumed run is the uninterrupted one, on a CPU bit for bit,
    and several processes, or a batch in parts, do what one does, to rounding.
    Raises Diverged where the loss is not a number, Collapsed where embeddings are one point, and
    Refused where the disk or the memory is full.
    """

    @on_cpu()
    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        data: Any,
        settings: Train,
        result: Callable[[nn.Module, int], M] = lambda module, step: module,  # pyright: ignore
        *,
        optimiser: Optimiser | None = None,
        folder: Path | str | None = None,
        validate: Callable[[nn.Module, nn.Module], Mapping[str, Any]] | None = None,
        preview: Callable[[M, int], None] | None = None,
        page: Callable[[], Path] | None = None,
        stamp: str = "",
        lock: BaseFileLock | None = None,
    ) -> None:
        """data: batches, or a Dataset or DataLoader of PyTorch, see `batches_of`. result: makes what is saved of the
        averaged module and the step; by default it is that module. folder: where, None writes nothing.
        optimiser: AdamW by default.
        validate: numbers (and lists of them) about the averaged module and the trained one. preview: shows what the
        result can do. page: draws how the training goes; in the background, after each preview.
        stamp: what the data are; a run goes on with the same only. lock: released when the run ends.
        """
        folder = None if folder is None else Path(folder)
        self.settings, self.folder, self.step, self.seconds = settings, folder, 0, 0.0
        self.accelerator = accelerator()
        self.device = self.accelerator.device
        self.data: Any = batches_of(module, objective, data, settings).to(self.device)
        self._result, self._validate, self._preview, self._page = result, validate, preview, page
        self._stamp, self._lock = stamp, lock
        self.module, self.objective = module.to(self.device).train(), objective
        objective.to(self.device)
        begin(self.module, objective, settings.steps)
        self.ema = EMA.of(self.module, settings)
        self._tracks = ema_snapshots.averages(self.module, self.ema) if settings.snapshots else {}
        self._averages = {id(each): each for each in (self.ema, *self._tracks.values())}.values()
        self.stepper = Step(self.accelerator, self.module, objective, self.data, settings, optimiser or AdamW())
        past = self.stepper.history
        losses = {} if past is None else {"losses": past.losses, "counts": past.counts}
        named = ema_snapshots.named(self.ema, self._tracks)
        sides = self.stepper.sides
        self._state = TrainingState(self.module, named, sides[0].optimiser, losses, sides, objective.state())
        self._keeper = CheckpointWriter(folder if self.accelerator.is_main_process else None, settings.keep, result)
        self.stop, self._log = Stop(), None
        self._saved, self._told = -1, False
        self.numbers: dict[str, Any] = {}  # the last of each in the log
        self._watch = LossWatch()
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
    def has_page(self) -> bool:
        """Whether the folder gets a page on how training goes."""
        return self.folder is not None and self._page is not None and self.settings.preview_every > 0

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is still on its way to the disk."""
        return self._keeper.writing

    @property
    def result(self) -> M:
        """What has been made so far, with the averaged weights."""
        return self._result(self.ema.module, self.step)

    def resume(self) -> Self:
        """Go on from the folder's newest checkpoint, if there is one; raises Refused if it is broken."""
        path = self.folder and checkpoint.newest(self.folder)
        if path:
            held, state = checkpoint.load(path)
            if state["stamp"] != self._stamp:
                raise Refused(f"the data are not those that {self.folder} was trained on: a run goes on with the same")
            self._state.restore(held, what=f"checkpoint {path}")
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            if self.settings.precision == "auto" != state["precision"]:
                self.stepper.dtype = named(state["precision"])
            self._watch.pending = [torch.tensor(pair, dtype=torch.float64, device="cpu") for pair in state["pending"]]
            self._saved = self.step  # the model too: it is written before its checkpoint
        return self

    def run(self, progress: bool = True) -> M:
        """Train to the end, behind a bar with rate and time left, or lines where there is no terminal; the result.

        After Ctrl-C everything is saved, and KeyboardInterrupt raised; after SIGTERM SystemExit. `resume=True` goes on.
        """
        quiet = not progress or not self.accelerator.is_main_process
        for _ in self if quiet else progress_display.shown(self, self.settings, self.step):
            pass
        if self.stopped == signal.SIGINT:
            raise KeyboardInterrupt
        if self.stopped:
            raise SystemExit(128 + self.stopped)
        return self.result

    def __repr__(self) -> str:
        return f"<Training: {', '.join(f'{name} {text}' for name, text in progress_display.facts(self).items())}>"

    def _repr_html_(self) -> str:
        return progress_display.html(self)

    def __iter__(self) -> Iterator[Numbers]:
        with self.stop:
            while (numbers := next(self, None)) is not None:
                yield numbers

    @on_cpu()
    def __next__(self) -> Numbers:
        if self.finished or self.stopped:
            self._end()
            raise StopIteration
        begins = self._log is None
        try:
            with self.stop:
                if begins:
                    self._begin()
                started = time.perf_counter()
                numbers = self._turn()
                self._recent.append(time.perf_counter() - started)
                self.seconds += self._recent[-1]
                if begins:
                    self._keeper.reserve(self._state.tensors())
                return self._after(numbers)
        except Refused:
            self.close()
            raise

    def _begin(self) -> None:
        """What comes before the first step: the log, the precision, and at step 0 how the first weights do."""
        if self._saved < 0 and self.folder and checkpoint.newest(self.folder):
            raise Refused(f"{self.folder} holds a run: go on with training.resume(), or choose another folder")
        self._log = Log(self.folder if self.accelerator.is_main_process else None, self.step)
        self._began = self.step
        why = "as before" if self.stepper.dtype else self.stepper.choose()
        LOGGER.info("computing in %s: %s", self.stepper.precision, why)
        if self.step == 0:
            if self._validate and self.settings.validate_every:
                measured = self._validate(self.ema.module, self.ema.module)
                self._log_line({"step": 0, "seconds": 0.0, **self.objective.signs(self.module), **measured})
            self._show()

    def _turn(self) -> dict[str, float | Tensor]:
        """One optimiser step."""
        seen = self.stepper.gradient(self.step)
        if self.device.type == "cpu":  # elsewhere asking would wait for the device: there it is asked for the log
            for name, pair in self.stepper.seen.items():
                self._watch.check(pair.tolist(), self.step + 1, self._diverged, name)
        lr = self.stepper.update(self.step)
        self.step += 1
        for each in self._averages:
            each.update(self.step)
        with torch.no_grad():
            self.objective.after(self.module, self.step)
        self._watch.pending.append(seen)
        others = {f"loss_{name}": pair[LOSS] for name, pair in self.stepper.seen.items() if name != RUN}
        return {"step": self.step, "loss": seen[LOSS], "grad_norm": seen[NORM], "lr": lr, **others}

    def _after(self, numbers: dict[str, float | Tensor]) -> Numbers:
        """Whatever is due after a step: numbers, validation, a line in the log, a checkpoint, a preview."""
        settings = self.settings
        self._keeper.check()
        numbers["samples_per_second"] = settings.batch * len(self._recent) / sum(self._recent)
        measured: Mapping[str, Any] = {}
        if self._validate and due.now(settings.validate_every, self.step, settings.steps):
            measured = self._validate(self.ema.module, self.module)
            self.module.train()
        if measured or self.step % settings.log_every == 0 or self.finished:
            self._write(numbers, measured)
        if ema_snapshots.due(self.step, settings.steps, settings.snapshots):
            self._keeper.snapshot(self.step, self._tracks)
        if due.now(settings.checkpoint_every, self.step, settings.steps):
            self.save()
        self._show()
        if self.step == self._began + FIRST and not self.finished:
            progress_display.say_pace(self, list(self._recent)[1 - FIRST :])  # the first step builds what others use
        if self.stopped or self.finished:
            self._end()
        return Numbers({**numbers, **{key: value for key, value in measured.items() if isinstance(value, float)}})

    def _show(self) -> None:
        """A preview, and the page in the background, where they are due."""
        if not due.preview(self.settings, self.step) or not self.accelerator.is_main_process:
            return
        if self._preview:
            self._preview(self.result, self.step)
        if self._page:
            self._keeper.submit(self._page)

    def _end(self) -> None:
        """What is left to do when no step follows: the state on the disk, the log closed, and word of how to go on."""
        if self._saved != self.step:
            self.save()
        self._keeper.wait()
        self.close()
        if self.stopped and not self._told:
            self._told = True
            again = f"; go on with: {command()} train {shlex.quote(str(self.folder))} --resume" if self.folder else ""
            LOGGER.warning("stopped and saved at step %d of %d%s", self.step, self.settings.steps, again)

    def close(self) -> None:
        """Give back the log and the run folder."""
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._lock is not None:
            self._lock.release()

    def _write(self, numbers: Mapping[str, float | Tensor], measured: Mapping[str, Any]) -> None:
        """One line of the log; its loss is the mean since the line before."""
        losses = [pair[LOSS] for pair in self._watch.pairs(self.step, self._diverged)]
        signs = self.objective.signs(self.module)
        line = Numbers({**numbers, "loss": math.fsum(losses) / len(losses), "seconds": self.seconds, **signs})
        self._watch.pending = []
        self._log_line({**line, **measured})
        if why := self.objective.trouble(self.module, signs):
            raise Collapsed(f"training is lost at step {self.step}; {self._keeper.good()}. {why}")

    def _log_line(self, line: Mapping[str, Any]) -> None:
        self.numbers |= line
        if self._log is not None:
            self._log.write(line)

    def save(self) -> None:
        """Copy the state and have it written: the checkpoint, the model; old checkpoints are dropped."""
        pending = self._watch.pairs(self.step, self._diverged)
        self._saved = self.step
        state = {"seconds": self.seconds, "pending": pending, "stamp": self._stamp, "precision": self.stepper.precision}
        self._keeper.checkpoint(self.step, self._state.tensors(), self.ema.module, state)

    def _diverged(self, what: str, step: int, norms: Sequence[float]) -> str:
        """What to say of a loss or a gradient that is not a number, with a reason and the last good checkpoint."""
        half = self.stepper.dtype is torch.bfloat16
        saved = self.folder if self.folder and checkpoint.newest(self.folder) else None
        why = diagnose(self.module, self.stepper.encoded(step - 1), list(norms), step, self.settings, half, saved)
        return f"{what} at step {step}; {self._keeper.good()}. {why}"
