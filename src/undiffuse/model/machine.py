"""What the machine has: its best device, and how it says that memory ran out."""

import torch


def best_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def out_of_memory(error: Exception) -> bool:
    """Whether this is PyTorch's way to say that memory ran out, on any device."""
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )
