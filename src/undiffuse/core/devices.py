"""What the machine has: its best device, and how it says that memory ran out."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from undiffuse.core.errors import Refused

NO_MEMORY = (
    *("not enough memory", "can't allocate memory", "size calculation overflow", "multiplication overflow"),
    *("Maximum allowed size exceeded", "Maximum allowed dimension exceeded", "array is too big"),
)


@contextmanager
def on_cpu() -> Generator[None]:
    """Inside, or in a function that it decorates, tensors are made on the CPU where nothing says otherwise, whatever
    PyTorch's default device is.
    """
    with nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu"):
        yield


def best_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device(asked: Any) -> torch.device:
    """The device of this name, the best one for None; raises Refused, with those there are, for one that is not."""
    if asked is None:
        return best_device()
    try:
        found = torch.device(asked)
        torch.empty(0, dtype=torch.float32, device=found)
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError):
        found = torch.device("meta")
    if found.type == "meta":
        there = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise Refused(f"there is no device {str(asked)[:80]!r} on this machine; it has: {', '.join(['cpu', *there])}")
    return found


def out_of_memory(error: Exception) -> bool:
    """Whether this is PyTorch's or NumPy's way to say that memory ran out, on any device, or would never do."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(said in str(error) for said in NO_MEMORY)
