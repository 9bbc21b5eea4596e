"""Writes files in the background during training."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class Background:
    """A thread that runs jobs in order; an exception in a job is raised by `check` and `wait`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="undiffuse-files")
        self._jobs: deque[Future[None]] = deque()

    def submit(self, job: Callable[..., Any], *given: Any) -> None:
        """Run this job after those that were submitted before."""
        self._jobs.append(self._pool.submit(job, *given))

    @property
    def busy(self) -> bool:
        """Whether a job is running or waiting."""
        return any(not job.done() for job in self._jobs)

    def check(self) -> None:
        """Raises the exception of a finished job, if there was one."""
        while self._jobs and self._jobs[0].done():
            self._jobs.popleft().result()

    def wait(self) -> None:
        """Wait for all jobs; raises the exception of a failed one, after which later jobs are dropped."""
        while self._jobs:
            try:
                self._jobs.popleft().result()
            except BaseException:
                for job in self._jobs:
                    job.cancel()
                self._jobs.clear()
                raise


class HostCopies:
    """Copies of tensors in host memory that is allocated once and reused."""

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
