"""Files are written while training goes on."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class Background:
    """One thread that does jobs in the order they came; what goes wrong there is raised where it is asked for."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="undiffuse-files")
        self._jobs: deque[Future[None]] = deque()

    def submit(self, job: Callable[..., Any], *given: Any) -> None:
        """Do this after what was asked for before."""
        self._jobs.append(self._pool.submit(job, *given))

    @property
    def busy(self) -> bool:
        """Whether something is still to be done."""
        return any(not job.done() for job in self._jobs)

    def check(self) -> None:
        """Raises what went wrong in a job that is over."""
        while self._jobs and self._jobs[0].done():
            self._jobs.popleft().result()

    def wait(self) -> None:
        """Returns when all is done; raises what went wrong, and then the jobs behind it are given up."""
        while self._jobs:
            try:
                self._jobs.popleft().result()
            except BaseException:
                for job in self._jobs:
                    job.cancel()
                self._jobs.clear()
                raise


class HostCopies:
    """A second home for tensors, in the computer's memory: taken once, then filled as fast as memory is."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def reserve(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the memory that copies of these tensors need, so that the first call of `of` need not wait for it."""
        for name, tensor in tensors.items():
            if name not in self._held:
                pinned = tensor.device.type == "cuda"
                self._held[name] = torch.empty_like(tensor, device="cpu", pin_memory=pinned).zero_()

    @torch.no_grad()
    def of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies as of now, under the same names; the copies of an earlier call are overwritten."""
        self.reserve(tensors)
        for name, tensor in tensors.items():
            self._held[name].copy_(tensor, non_blocking=True)
        if any(tensor.device.type == "cuda" for tensor in tensors.values()):
            torch.cuda.synchronize()
        return {name: self._held[name] for name in tensors}
