"""The learning rate range test: a rate that rises while a run trains shows where training breaks (arXiv:1506.01186)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from undiffuse.progress import Advance
from undiffuse.training.loop import Training

APART = 2**31 - 1  # the number of a step that no range test takes, whose batch the loss is measured on
BROKEN = 2.0  # over the first loss: nothing comes back from there
SHARE = 1 / 2  # of the rate at the edge, so that training stays clear of it


@dataclass(frozen=True)
class RangeTest:
    """Learning rates, and after a step at each the loss of one batch that was not trained on, with the same noise."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def edge(self) -> float:
        """The rate at which the loss was least: where steps begin to undo what was learned.

        On a quadratic of largest curvature c that is gradient descent's limit, 2/c.
        """
        return self.rates[min(range(len(self.losses)), key=self.losses.__getitem__)]

    @property
    def found(self) -> bool:
        """Whether the loss rose again: the edge lies inside the rates, and not at their end."""
        return self.edge < self.rates[-1]

    @property
    def suggested(self) -> float:
        """SHARE of the edge, to one digit and a half: 1, 1.5, 2, 3, 5, 7 times a power of 10."""
        power = 10.0 ** math.floor(math.log10(self.edge * SHARE))
        below = max(each for each in (1, 1.5, 2, 3, 5, 7) if each * power <= self.edge * SHARE * (1 + 1e-9))
        return float(f"{below * power:.2g}")


def range_test(
    training: Training[Any],
    first: float,
    last: float,
    steps: int,
    advance: Advance = lambda done, total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> RangeTest:
    """Train for at most so many steps at rates that rise evenly in their logarithm, from the first to the last.

    It ends before where the loss is BROKEN or no number. Nothing is averaged, logged or saved; the run is spent.
    """
    stepper, settings = training.stepper, training.settings
    rates: list[float] = []
    losses: list[float] = []
    for step in range(steps):
        rates.append(first * (last / first) ** (step / (steps - 1)))
        stepper.settings = replace(settings, lr=rates[-1], warmup=0, decay="constant", decay_from=0)
        stepper.gradient(step)
        stepper.update(step)
        loss = stepper.loss(APART)
        losses.append(loss if math.isfinite(loss) else math.inf)
        advance(step + 1, steps)
        if losses[-1] > BROKEN * losses[0] or stopped():
            break
    return RangeTest(tuple(rates), tuple(losses))
