"""From noise to data: the only loop."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


def trajectory(denoiser: Denoiser, sampler: Sampler, x: Any, times: Tensor, *, random: Random, **cond: Any) -> Iterator[Any]:
    """The states after each step, from the noisy batch x at times[0] down to times[-1].

    x: (batch, *shape). times: (steps + 1,), strictly falling, in float64. Step i draws from random.fold(i), and nothing is kept
    between steps but the sampler's memory: a progress bar, a film or an early stop live outside.
    """
    times = _checked(times)
    memory = None
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        stream = random.fold(i)
        belief, memory = sampler.step(denoiser, x, t, s, memory, random=stream.fold(1), **cond)
        x = belief.sample(stream)
        yield x


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    shape: Any,
    *,
    sampler: Sampler | None = None,
    steps: int | None = None,
    times: Tensor | None = None,
    start: Any = None,
    seed: int = 0,
    indices: Tensor | None = None,
    **cond: Any,
) -> Any:
    """Draw a batch of data.

    shape: (batch, *shape), for several parts a dictionary of such. steps: sampler steps (default 20); times: the grid itself instead.
    No sampler and no times: the measured default plan, one network call a step. start: a noisy batch at times[0] instead of a draw
    from the prior. indices: (batch,) which samples these are; sample i depends on (seed, i) only.
    Returns x_0 on the device of the denoiser's weights, in float32 unless start says otherwise.
    """
    from undiffuse.core.plan import default_grid, default_sampler

    sampler = sampler or default_sampler(denoiser.process)
    if times is None:
        times = default_grid(denoiser.process)(denoiser.process.schedule, 20 if steps is None else steps)
    elif steps is not None and steps != len(times) - 1:
        raise Refused(f"steps = {steps} and a grid of {len(times) - 1} steps contradict each other; give one of them")
    times = _checked(times)
    random = Random(seed, indices)
    x = start
    if x is None:
        x = _to(denoiser.process.prior(shape, times[0]).sample(random.fold(-1)), _device(denoiser))
    for x in trajectory(denoiser, sampler, x, times, random=random, **cond):  # noqa: B007
        pass
    return x
