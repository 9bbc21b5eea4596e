"""From noise to data: the only loop."""

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, SupportsIndex, cast

import torch
from torch import Tensor, nn

from undiffuse.core import arguments, devices, families, jumps, registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import unpadded
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import ROUNDING


@devices.on_cpu()
def trajectory(
    denoiser: Denoiser, sampler: Sampler, x: Any, times: Tensor, *, random: Random, **cond: Any
) -> Iterator[Any]:
    """The states after each step, from the noisy batch x at times[0] down to times[-1].

    x: (batch, *shape). times: (steps + 1,), strictly falling, in float64; with a sampler that says `batch_times` also
    (steps + 1, batch), for samples that stand at different times.
    Step i draws from random.fold(i), and nothing is kept
    between steps but the sampler's memory: a progress bar, a film or an early stop live outside.
    """
    times = _checked(times)
    families.check(sampler, denoiser.process)
    jumps.check(sampler, denoiser, times)
    if times.ndim == 2 and not sampler.batch_times:
        raise Refused(f"{registry.name_of(sampler)} takes one time for a whole batch: give times of shape (steps + 1,)")
    if cond.get("mask") is not None:
        _refuse_padding(sampler)
    memory = None
    for i, (t, s) in enumerate(pairwise(times)):
        stream = random.fold(i)
        belief, memory = sampler.step(denoiser, x, t, s, memory, random=stream.fold(-1), **cond)
        x = belief.sample(stream)
        del belief  # its guess, as large as the vocabulary, would stay beside the next one
        yield x


@torch.no_grad()
@devices.on_cpu()
def sample(
    denoiser: Denoiser | nn.Module,
    shape: Any,
    *,
    sampler: Sampler | str | None = None,
    steps: int | None = None,
    times: Tensor | None = None,
    start: Any = None,
    seed: SupportsIndex = 0,
    indices: Any = None,
    **cond: Any,
) -> Any:
    """Draw a batch of data.

    shape: (batch, *shape), for several parts a dictionary of such. sampler: one, or its name.
    steps: sampler steps (default: the sampler's own);
    times: the grid itself.
    No sampler and no times: the measured default plan, one network call a step.
    start: a noisy batch at times[0] instead of a draw
    from the prior. indices: (batch,) which samples these are; sample i depends on (seed, i) only.
    Raises Refused for a shape with a negative number, for a grid that does not fall, for steps that contradict it, and
    for a seed or indices that are no integers from 0 on.
    cond: conditions, and `mask` for items of different sizes: padding is 0 in what is returned, see `Predictor`.
    Returns x_0 on the device of the denoiser's weights, in float32 unless start says otherwise.
    """
    if isinstance(denoiser, nn.Module) and not isinstance(denoiser, Denoiser):
        wrap = 'wrap it, undiffuse.Predictor(network, process, "noise")'
        raise Refused(f"sampling needs a Denoiser, and this is a {type(denoiser).__name__}: {wrap}")
    named = registry.build("samplers", {"name": sampler}) if isinstance(sampler, str) else sampler
    chosen: Sampler = named or jumps.default_sampler(denoiser)
    if times is None and denoiser.jump_times and steps is None:
        times = torch.tensor(denoiser.jump_times, dtype=torch.float64)
    elif times is None:
        grid = registry.get("grids", chosen.grid or denoiser.process.default_grid)()
        times = grid(denoiser.process.schedule, chosen.default_steps if steps is None else steps)
    times = _checked(times)
    if times.ndim != 1:
        raise Refused(f"a grid of times is (steps + 1,), the same for all samples, not {tuple(times.shape)}")
    if steps is not None and steps != len(times) - 1:
        raise Refused(f"steps = {steps} and a grid of {len(times) - 1} steps contradict each other; give one of them")
    random = Random(arguments.seed(seed), None if indices is None else arguments.indices(indices))
    if start is None:
        _refuse_negative(shape)
        drawn = denoiser.process.prior(shape, times[0]).sample(random.fold(-1))
        start = to(drawn, denoiser.device or torch.device("cpu"))
    x = deque(trajectory(denoiser, chosen, start, times, random=random, **cond), maxlen=1).pop()
    return x if cond.get("mask") is None else unpadded(x, cond["mask"])


def _refuse_padding(sampler: Sampler) -> None:
    """Raises Refused, by name, for a sampler that cannot leave padding out, or that has one inside it."""
    if not sampler.masks:
        raise Refused(f"{registry.name_of(sampler)} reads all places at once, and so not items of different sizes")
    if sampler.inner is not None:
        _refuse_padding(sampler.inner)


def _checked(times: Any) -> Tensor:
    """A grid in float64 on the CPU, or one a sample, (steps + 1, batch); raises Refused unless it falls strictly inside
    [0, 1] and has at least one step.
    """
    times = torch.as_tensor(times, dtype=torch.float64, device="cpu")
    times = torch.where((times > 1) & (times <= 1 + ROUNDING), 1.0, times)
    if times.ndim not in (1, 2) or len(times) < 2:
        raise Refused(f"a grid of times needs at least two of them, from noise to data; got shape {tuple(times.shape)}")
    if not bool((times.diff(dim=0) < 0).all()) or not 0 <= float(times.min()) < float(times.max()) <= 1:
        raise Refused(f"a grid of times must fall strictly inside [0, 1] (1 = noise, 0 = data); got {times.tolist()}")
    return times


def _refuse_negative(shape: Any) -> None:
    """Raises Refused for a shape, or that of one part, with a negative number."""
    parts = list(cast(Mapping[str, Any], shape).values()) if isinstance(shape, Mapping) else [shape]
    if any(size < 0 for part in parts for size in part):
        raise Refused(f"a batch has a shape of sizes from 0 on, (batch, *shape of a sample); got {shape}")
