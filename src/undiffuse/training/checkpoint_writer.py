"""Writes checkpoints, the model and snapshots of averages into the run folder during training."""

import copy
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.networks.lora import frozen
from undiffuse.training import checkpoint, ema_snapshots
from undiffuse.training.background import Background, HostCopies
from undiffuse.training.ema import EMA
from undiffuse.training.state import AVERAGE


class CheckpointWriter:
    """Copies the state, for which training waits, and writes the copy in the background.

    folder: None keeps nothing. keep: checkpoints that stay, the newest. result: makes what is saved of a module and a
    step. What cannot be written is raised, as Refused, at the next step; what was written before stays as it was.
    """

    def __init__(self, folder: Path | None, keep: int, result: Callable[[nn.Module, int], Any]) -> None:
        self.folder, self.keep, self._result = folder, keep, result
        self._files, self._states, self._tracks = Background(), HostCopies(), HostCopies()
        self._average: nn.Module | None = None

    def reserve(self, held: Mapping[str, Tensor]) -> None:
        """Take the memory for the copies of a checkpoint, in the background."""
        if self.folder is not None:
            self._files.submit(self._states.reserve, held)

    def checkpoint(self, step: int, held: Mapping[str, Tensor], average: nn.Module, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of all of the state, the model of its average, and then remove old checkpoints."""
        if self.folder is None:
            return
        self._files.wait()
        if self._average is None:  # not in the background: what the model remembers changes while it samples
            shared = (*average.parameters(), *frozen(average))
            self._average = copy.deepcopy(average, {id(weights): weights for weights in shared})
        self._files.submit(self._write, step, self._states.of(held), self._average, state)

    def snapshot(self, step: int, averages: Mapping[str, EMA]) -> None:
        """Write a snapshot of averages of the weights."""
        if self.folder is None:
            return
        self._files.wait()
        held = {
            f"{track}.{name}": value
            for track, ema in averages.items()
            for name, value in ema.module.state_dict().items()
        }
        self._files.submit(ema_snapshots.save, self.folder, step, self._tracks.of(held))

    def submit(self, job: Callable[[], Any]) -> None:
        """Do something else that writes into the folder, in the background."""
        if self.folder is not None:
            self._files.submit(job)

    @property
    def writing(self) -> bool:
        """Whether something is still on its way to the disk."""
        return self._files.busy

    def check(self) -> None:
        """Raises Refused if something could not be written."""
        self._files.check()

    def wait(self) -> None:
        """Returns when all is on the disk; raises Refused if something could not be written."""
        self._files.wait()

    def good(self) -> str:
        """Where the last good checkpoint is, in words; one that is being written is waited for."""
        if threading.current_thread() is threading.main_thread():
            self._files.wait()
        newest = self.folder and checkpoint.newest(self.folder)
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"

    def _write(self, step: int, held: Mapping[str, Tensor], average: nn.Module, state: Mapping[str, Any]) -> None:
        assert self.folder is not None
        try:
            made = self._result(_with_weights(average, held), step)
            if not isinstance(made, nn.Module):  # a module alone is in the checkpoint already
                made.save(self.folder)  # first: no checkpoint without its model
            checkpoint.save(self.folder, step, held, state)
        except Refused as error:
            raise Refused(f"{error}; training stops after step {step} or soon after, and {self.good()}") from error
        checkpoint.prune(self.folder, self.keep)


def _with_weights(average: nn.Module, copied: Mapping[str, Tensor]) -> nn.Module:
    """The module with the copied tensors as its own, on the CPU."""
    own = {name.removeprefix(AVERAGE): value for name, value in copied.items() if name.startswith(AVERAGE)}
    with torch.no_grad():
        average.load_state_dict(own, assign=True)
    return average.cpu().requires_grad_(False)
