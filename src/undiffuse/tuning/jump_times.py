"""Plans of a consistency function: the times of its steps, found by the distance of its samples to held-out data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.samplers.jump import Jump
from undiffuse.tuning.fine import InBatches, some
from undiffuse.tuning.multistep_times import multistep_calls, multistep_times
from undiffuse.tuning.times import CLEARLY, Plan, default_plan

LEAST = 32  # held-out items


@dataclass(frozen=True, eq=False)
class JumpTuner:
    """Held-out items (n, *shape), encoded, with their conditions, and plans whose samples come near to them.

    There is no path to follow, since each step draws noise: what can be measured is the law of the samples. One half of
    the items chooses the times, by `multistep_times`; the other half, with conditions and noise of its own, reports.
    """

    denoiser: InBatches
    items: Tensor
    cond: Mapping[str, Any]
    stopped: Callable[[], bool] = lambda: False

    measured = "Frechet distance of encoded samples to held-out items"

    def plan(self, steps: int, default: tuple[Sampler, Tensor]) -> Plan:
        """The plan of so many steps with the least distance, or the default where it is not clearly nearer."""
        n, half = len(self.items), (len(self.items) + 1) // 2
        usual, times = default
        found = multistep_times(
            self.denoiser, self.items, steps, stopped=self.stopped, **some(self.cond, n, slice(half))
        )
        default_error = self._distance(usual, times, slice(half, n), 1)
        chosen = Jump(fresh=1.0), torch.tensor(found.times, dtype=torch.float64)
        if len(found.times) == len(times) and found.distances[-1] < CLEARLY * self._distance(*default, slice(half), 0):
            error = self._distance(*chosen, slice(half, n), 1)
            if error < CLEARLY * default_error:
                return Plan(*chosen, error, default_error, True)
        return Plan(usual, times, default_error, default_error, False)

    def default(self, steps: int) -> tuple[Sampler, Tensor]:
        """The plan of such models where nobody says."""
        return default_plan(self.denoiser, steps)

    def can_take(self, sampler: Sampler) -> bool:
        """Whether samples of a sampler can be measured: those of all."""
        return True

    @staticmethod
    def all_calls(items: int, steps: Sequence[int]) -> int:
        """How many calls of the network tuning for these numbers of steps needs, one a sample and step."""
        return sum((multistep_calls(each) + 3 * each) * items // 2 for each in steps)

    def one(self, sampler: Sampler, times: Tensor) -> None:
        """Take these steps with one sample, to see what they cost."""
        self._drawn(sampler, times, slice(1), 0)

    def _distance(self, sampler: Sampler, times: Tensor, part: slice, seed: int) -> float:
        """Of samples by these steps to some of the items."""
        drawn = self._drawn(sampler, times, part, seed)
        return frechet(*(x.double().flatten(1).cpu().numpy() for x in (drawn, self.items[part])))

    def _drawn(self, sampler: Sampler, times: Tensor, part: slice, seed: int) -> Tensor:
        cond = some(self.cond, len(self.items), part)
        noise = self.denoiser.process.prior(self.items[part].shape, times[0]).sample(Random(seed).fold(-1))
        start = to(noise, self.items.device)
        return sample(self.denoiser, (), sampler=sampler, times=times, start=start, seed=seed, **cond)
