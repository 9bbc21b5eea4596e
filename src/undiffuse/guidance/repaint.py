"""RePaint: in-painting by replacement that goes back and forth, so that the unknown part agrees with the known."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.inpaint import Inpaint


@dataclass(frozen=True, eq=False)
class RePaint(Sampler):
    """`resample` times over: `jump` steps of `Inpaint` from t to s, then noise from s back to t, but after the last.

    sampler, known, mask: see `Inpaint`. One step here is jump * resample of the inner sampler; the paper's 250 steps
    with jumps of 10, each 10 times, are 25 steps. The bias of replacement falls with `resample`; it does not vanish.
    Raises Refused for tokens, whose known part needs no noise. Source: arXiv:2201.09865, alg. 1 and app. B.
    """

    sampler: Sampler
    known: Tensor
    mask: Tensor
    jump: int = 10
    resample: int = 10

    grid: ClassVar[str] = "even"
    default_steps: ClassVar[int] = 25

    def __post_init__(self) -> None:
        if self.jump < 1 or self.resample < 1:
            raise Refused(f"repaint needs jump and resample of 1 or more, not {self.jump} and {self.resample}")

    @property
    def inner(self) -> Sampler:
        return self.sampler

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process: Any = denoiser.process
        inner = Inpaint(self.sampler, self.known, self.mask)
        times = torch.linspace(float(t), float(s), self.jump + 1, dtype=torch.float64)
        times[-1] = s
        share = (process.schedule.alpha(t) / process.schedule.alpha(s)).to(x_t.dtype)
        noise = process.kernel_variance(s, t, x_t)
        for again in range(self.resample):
            if again:
                x_t = Normal(share * x_t, noise).sample(random.fold(again, 0))
                memory = None  # a sampler's memory is of falling noise
            for i, (high, low) in enumerate(pairwise(times)):
                stream = random.fold(again, 1, i)
                belief, memory = inner.step(denoiser, x_t, high, low, memory, random=stream, **cond)
                x_t = belief.sample(stream)
        return process.point(x_t), memory
