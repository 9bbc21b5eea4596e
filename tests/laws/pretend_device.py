"""A device for tests on machines without an accelerator: it computes on the CPU, and keeps an accelerator's rules.

Tensors of two devices do not go together, and the host that reads a tensor waits: each such read is noted.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretend"
aten: Any = torch.ops.aten
MAKERS = frozenset((torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor))  # they work below the dispatcher
CHANGED = MAKERS | {Tensor.tolist}
COPIES = {"aten::_to_copy", "aten::copy_", "aten::copy"}
LOOKUPS = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
# what gives the host a number, and what has a shape that only the device knows
WAITS = {
    *("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero", "aten::masked_select"),
    *("aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::bincount", "aten::histc"),
}


NESTED = (list, tuple, dict)


class MixedDevicesError(Exception):
    """Tensors of two devices in one operation."""


class Reads(list[str]):
    """The operations that the host waited for, in order, each with the line that asked."""


READS = Reads()  # of all threads: a gradient's operations may run in one of their own


class Remote(Tensor):
    """A tensor that says it is on the device; `local` holds its values."""

    local: Tensor

    @staticmethod
    def __new__(cls, local: Tensor) -> "Remote":
        layout = {"strides": local.stride(), "storage_offset": local.storage_offset(), "dtype": local.dtype}
        made: Any = Tensor._make_wrapper_subclass(cls, local.size(), device=device(), **layout)
        made.local = local
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Remote({self.local!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return perform(func, args, kwargs or {})


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return []

    def get_rng_state(self, device: Any = None) -> Tensor:  # of `torch.random.fork_rng`; it draws nothing by itself
        return torch.zeros(0, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        assert not len(state)


@cache
def device() -> torch.device:
    """The device, registered with PyTorch once a process."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    return torch.device(NAME, 0)


def perform(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on local values; what it gives is on the device that an accelerator's would be on.

    Raises MixedDevicesError where an accelerator would refuse.
    """
    tensors = [x for x in leaves((args, kwargs)) if isinstance(x, Tensor)]
    remote = [x for x in tensors if isinstance(x, Remote)]
    asked, (name, _, _) = kwargs.get("device"), facts(func)
    onto = torch.device(asked).type if asked is not None else NAME if remote else "cpu"
    if not remote and onto != NAME:
        return func(*args, **kwargs)
    if name == "aten::copy_":
        onto = NAME if isinstance(args[0], Remote) else "cpu"
    if remote and name not in COPIES:
        _check(func, args, tensors)
    if remote and (name in WAITS or onto == "cpu" or _by_mask(name, args)):
        READS.append(f"{name} {_caller()}")
    made = {id(x.local): x for x in remote}  # an operation in place gives back the tensor that it was given
    found = func(*changed(args, _local), **changed(kwargs, _local))
    return found if onto != NAME else changed(found, lambda x: _remote(x, made))


@cache
def facts(func: Any) -> tuple[str, bool, bool]:
    """The name of an operation, whether it changes its first tensor, and whether it computes elements one by one."""
    schema = func._schema
    pointwise = (
        torch.Tag.pointwise in func.tags or schema.name in LOOKUPS or schema.name in ("aten::where", "aten::fill_")
    )
    return schema.name, schema.is_mutable, pointwise


def leaves(x: Any) -> list[Any]:
    """What lists, tuples and dictionaries hold."""
    found: list[Any] = []
    for each in x.values() if isinstance(x, dict) else x:
        if isinstance(each, NESTED):
            found += leaves(each)
        else:
            found.append(each)
    return found


def changed(x: Any, change: Callable[[Any], Any]) -> Any:
    """The same lists, tuples and dictionaries of what becomes of each thing in them."""
    if isinstance(x, dict):
        return {name: changed(value, change) for name, value in x.items()}
    if type(x) not in NESTED:
        return change(x)
    return type(x)([changed(value, change) if type(value) in NESTED else change(value) for value in x])


def _local(x: Any) -> Any:
    if isinstance(x, Remote):
        return x.local
    return torch.device("cpu") if isinstance(x, torch.device) and x.type == NAME else x


def _remote(x: Any, made: dict[int, Remote]) -> Any:
    return (made[id(x)] if id(x) in made else Remote(x)) if isinstance(x, Tensor) else x


def _check(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """A number without axes may stay on the host where elements are computed one by one, indices may, others not."""
    name, changes, pointwise = facts(func)
    if name in LOOKUPS:
        places = [place for place in args[1] if isinstance(place, Tensor)]
        tensors = [x for x in tensors if not any(x is place for place in places)]
    strangers = [x for x in tensors if not isinstance(x, Remote) and not (pointwise and x.ndim == 0)]
    in_place = changes and not isinstance(args[0], Remote)
    if strangers or in_place:
        raise MixedDevicesError(
            f"{func}: tensors on {NAME} and on cpu: {[(tuple(x.shape), x.device) for x in tensors]}"
        )


def _by_mask(name: str, args: Any) -> bool:
    """Whether elements are chosen by a mask, so that their number is the device's secret."""
    return (
        name in LOOKUPS
        and any(isinstance(x, Tensor) and x.dtype is torch.bool for x in args[1])
        and not (
            name != "aten::index" and args[2].ndim == 0  # one number for all of them: their count does not matter
        )
    )


def _caller() -> str:
    """The line of the package that asked."""
    frame = sys._getframe()
    while frame.f_back and "/undiffuse/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


class _Operations(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, and leaving the compiler out costs more than an operation

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return perform(func, args, kwargs or {})


class _Makers(TorchFunctionMode):
    """Tensors made of Python's numbers are made on the host and sent."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in CHANGED:
            return func(*args, **kwargs)
        if func is Tensor.tolist:
            return args[0].cpu().tolist() if isinstance(args[0], Remote) else func(*args, **kwargs)
        kwargs = dict(kwargs)
        onto = kwargs.pop("device", None)
        if func is Tensor.new_tensor:
            owner, *args = args
            func, kwargs = torch.tensor, {"dtype": owner.dtype, **kwargs}
            onto = onto or owner.device
        if isinstance(args[0], Remote):
            return args[0].to(device=onto or args[0].device, dtype=kwargs.get("dtype"))
        return func(*args, **kwargs) if onto is None else func(*args, **kwargs).to(onto)


@contextmanager
def pretend() -> Iterator[Reads]:
    """Inside, the device is there; gives the reads since then."""
    READS.clear()
    device()
    with _Operations(), _Makers():
        yield READS


device()  # at once: PyTorch counts its devices at the first gradient of a process, and knows no later ones
