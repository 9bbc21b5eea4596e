"""Finds a batch size that fits after memory has run out."""

from collections.abc import Callable

import torch

from undiffuse.core.devices import out_of_memory


def largest(attempt: Callable[[int], None], size: int, clean: Callable[[], None]) -> int | None:
    """The largest of size / 2, size / 4 ... (whole divisors) at which an attempt does not run out of memory, or None.

    clean: called before and after every attempt, to give back what it left behind.
    """
    while size % 2 == 0:
        size //= 2
        clean()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(size)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        else:
            return size
        finally:
            clean()
    return None
