"""What a network is made of, found out before it takes any memory."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from undiffuse.core.errors import Refused

TENSORS = 20_000  # no network here has a tenth of it; putting more together would take long, even without memory
UNKNOWN = 2**40  # bytes, where the machine does not tell its memory
WRITES = frozenset(  # what changes a tensor's values and nothing else
    getattr(Tensor, f"{name}_")
    for name in (
        *("zero", "fill", "copy", "mul", "div", "add", "sub", "clamp"),
        *("normal", "uniform", "bernoulli", "exponential", "log_normal", "random"),
    )
)
DRAWS = frozenset((torch.randn, torch.rand))
Module = TypeVar("Module", bound=nn.Module)


def blueprint(
    build: Callable[[], nn.Module], what: str, tensors: int = TENSORS, size: int | None = None
) -> dict[str, Tensor]:
    """The state dict of the module that `build` makes, as tensors without memory; arguments: see `sketch`."""
    return dict(sketch(build, what, tensors, size).state_dict())


def sketch(build: Callable[[], Module], what: str, tensors: int = TENSORS, size: int | None = None) -> Module:
    """The module that `build` makes, of tensors without memory (device "meta").

    Stops as soon as it is known to have more than `tensors` tensors or more than `size` bytes (None: this machine's
    memory). Leaves the random number generators as they are. Raises Refused then, and where it cannot be built.
    """
    most = memory() if size is None else size
    try:
        with torch.device("meta"), Unwritten(), _counted(what, tensors, most):
            return build()
    except Refused:
        raise
    except (RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise Refused(f"{what} cannot be built: {str(error).partition(chr(10))[0]}") from error


def memory() -> int:
    """The bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN


class Unwritten(TorchFunctionMode):
    """Inside, neither parameters nor tensors without memory get their first values: others take their place, or none.

    PyTorch imports its compiler to draw a tensor without memory, or to calculate with one: a second, and 150 MB.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in WRITES or getattr(func, "__module__", None) == "torch.nn.init":
            written = args[0] if args else kwargs.get("tensor")
            if isinstance(written, Tensor) and (_parameter(written) or written.is_meta):
                return written
        if func in DRAWS and torch.get_default_device().type == "meta":
            named = {name: value for name, value in kwargs.items() if name not in ("generator", "dtype")}
            return torch.empty(*args, dtype=kwargs.get("dtype"), **named)
        return func(*args, **kwargs)


def _parameter(tensor: Tensor) -> bool:
    """Whether this is a parameter, or a part of one."""
    return isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)


@contextmanager
def _counted(what: str, tensors: int, size: int) -> Iterator[None]:
    """Inside, every parameter and buffer that this thread gives to a module is counted."""
    here, count, total = threading.get_ident(), 0, 0

    def note(module: nn.Module, name: str, tensor: Any) -> None:
        nonlocal count, total
        if threading.get_ident() != here or not isinstance(tensor, Tensor):
            return
        count, total = count + 1, total + tensor.numel() * tensor.element_size()
        if count > tensors:
            raise Refused(f"{what} has more than {tensors:,} tensors")
        if total > size:
            raise Refused(f"{what} takes more than {size / 2**30:.3g} GB")

    registered = [
        hooks.register_module_parameter_registration_hook(note),
        hooks.register_module_buffer_registration_hook(note),
    ]
    try:
        yield
    finally:
        for hook in registered:
            hook.remove()
