"""Which number format the network runs in: by what the device can do, and by what it makes of the network."""

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused, near
from undiffuse.core.network import declared

NAMES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ALIASES = {"fp32": "float32", "full": "float32", "bf16": "bfloat16"}  # what others call them
DEVICES = ("cpu", "cuda", "mps", "xpu", "meta")  # that somebody may say in the place of a precision
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TOLERANCE = 0.25  # of a norm: bfloat16 takes sound networks 1 % to 10 % off, and a kernel that is wrong 50 % or more
ORDERS = {nn.Conv2d: torch.channels_last, nn.Conv3d: torch.channels_last_3d}  # what bfloat16 kernels want


def pick(name: str, device: torch.device, network: nn.Module) -> torch.dtype:
    """The dtype that a network computes in.

    name: "float32", "bfloat16" or "auto": bfloat16 where the device multiplies it faster and the network has
    convolutions, or says `half_pays`, else float32. Raises Refused for another name.
    """
    if name == "auto":
        pays = any(isinstance(part, CONVOLUTIONS) or declared(type(part)).half_pays for part in network.modules())
        return torch.bfloat16 if pays and has_bfloat16(device) else torch.float32
    return named(name)


def named(name: str) -> torch.dtype:
    """The dtype of this name; raises Refused naming those there are."""
    name = ALIASES.get(str(name), str(name))
    if name.partition(":")[0] in DEVICES:
        raise Refused(f"a precision is auto, {', '.join(NAMES)}, and {name!r} is a device: device={name!r}")
    if name not in NAMES:
        raise Refused(
            f"precision {name!r} is unknown{near(name, ['auto', *NAMES])}; it can be auto, {', '.join(NAMES)}"
        )
    return NAMES[name]


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Where training multiplies in this dtype, the weights staying float32."""
    half = dtype is torch.bfloat16
    return torch.autocast(device.type, dtype=dtype) if half else nullcontext()


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32, in hardware.

    Of CPUs those with AMX do, and AMD's with AVX512_BF16; on Intel's the latter alone is slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    able = _abilities()
    return has_amx() or bool(able.get("avx512_bf16") and "AMD" in str(able.get("cpu_name")))


def has_amx() -> bool:
    """Whether this machine's processor multiplies bfloat16 by tiles (AMX)."""
    return bool(_abilities().get("amx_bf16"))


def _abilities() -> dict[str, Any]:
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def place(module: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The module on the device in the dtype, convolution weights in the memory order that the dtype's kernels want."""
    module = module.to(device=device, dtype=dtype)
    kinds = {type(part) for part in module.modules()}
    for kind, order in ORDERS.items():
        if dtype is torch.bfloat16 and kind in kinds:
            module = module.to(memory_format=order)  # pyright: ignore[reportCallIssue]
    return module


@torch.no_grad()
def place_checked(module: Any, device: torch.device, attempt: Callable[[], Any]) -> nn.Module:
    """`place` in bfloat16, or in float32 where the network's output is not the same then, to `TOLERANCE`.

    attempt: one call of the module, with little of what it is for.
    """
    place(module, torch.float32, device)
    weights = {name: tensor.data for name, tensor in module.state_dict(keep_vars=True).items()}
    outputs: list[Tensor] = []
    hook = module.network.register_forward_hook(lambda network, given, output: outputs.append(output.double()))
    try:
        attempt()
        place(module, torch.bfloat16, device)
        attempt()
    finally:
        hook.remove()
    exact, half = outputs
    if not float((half - exact).norm()) <= TOLERANCE * float(exact.norm()):
        for name, tensor in module.state_dict(keep_vars=True).items():
            tensor.data = weights[name]
    return module
