"""PyTorch's global random generators, which layers such as dropout draw from: seeded for a while, and drawn twice."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor


@contextmanager
def seeded(seed: int, device: torch.device) -> Generator[None]:
    """Inside, the generators of the CPU and of the device start at this seed; afterwards they are as before.

    As torch.random.fork_rng with manual_seed, without its milliseconds.
    """
    back = rewind(device)
    try:
        for generator in _generators(device):
            generator.manual_seed(seed)
        yield
    finally:
        back()


def rewind(device: torch.device | None) -> Callable[[], None]:
    """What sets the generators of the CPU and of the device back to where they are now, so that layers draw again what
    they draw next.
    """
    return partial(_back, [(generator, generator.get_state()) for generator in _generators(device)])


def _back(states: Sequence[tuple[torch.Generator, Tensor]]) -> None:
    for generator, state in states:
        generator.set_state(state)


def _generators(device: torch.device | None) -> list[torch.Generator]:
    if device is None or device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index  # pyright: ignore[reportUnnecessaryComparison]
    return [torch.default_generator, torch.cuda.default_generators[index]]
