"""The losses and gradients of the last steps, none of which may be NaN or infinite."""

import math
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from undiffuse.core.objective import RUN
from undiffuse.training.diagnose import Diverged

LOSS, NORM = 0, 1  # places in the pair of a step
Explain = Callable[[str, int, Sequence[float]], str]
RECENT = 100  # steps whose gradient norms are kept


class LossWatch:
    """Pairs (loss, norm of the gradient) of the steps since the last line of the log."""

    def __init__(self) -> None:
        self.pending: list[Tensor] = []
        self._norms: deque[float] = deque(maxlen=RECENT)

    def check(self, pair: Sequence[float], step: int, explain: Explain, player: str = RUN) -> None:
        """Raises Diverged if one of the two is NaN or infinite; else the norm of the run's own gradient is kept.

        explain: makes the message from what is wrong, the step and the norms before it.
        """
        if all(map(math.isfinite, pair)):
            if player == RUN:
                self._norms.append(pair[NORM])
            return
        whose = "" if player == RUN else f" of player {player!r}"
        what = f"the loss{whose} is {pair[LOSS]}" if not math.isfinite(pair[LOSS]) else "the gradient is not a number"
        raise Diverged(explain(what, step, list(self._norms)))

    def pairs(self, step: int, explain: Explain) -> list[list[float]]:
        """The pending pairs as numbers, the last one of this step; raises Diverged as `check` does."""
        pairs = torch.stack(self.pending).tolist() if self.pending else []
        for back, pair in enumerate(reversed(pairs)):
            self.check(pair, step - back, explain)
        return pairs
