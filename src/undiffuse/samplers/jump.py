"""Jump: go where the guess leads in one step, and draw as much of the noise anew as wished."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core import jumps
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY, KEEP, VALUES
from undiffuse.core.random import Random
from undiffuse.core.sampler import Sampler


@dataclass(frozen=True)
class Jump(Sampler):
    """keep = sqrt(1 - fresh^2) sigma_s / sigma_t, with the guess that lands at the noise level sqrt(1 - fresh^2)
    sigma_s / alpha_s: down there in one jump, and back up to s by the forward kernel.

    fresh: the share of x_s's noise that is drawn anew. 0: the deterministic jump of a flow map. 1, also called
    "renoise": x_s = alpha_s guess + sigma_s noise with the guess of where the path ends, the multistep sampling of
    consistency models (arXiv:2303.01469, alg. 1); between: arXiv:2310.02279, sec. 4.
    At any count of steps it is exact for an exact flow map; with fresh = 1 also for an exact consistency function, and
    for guesses that draw from p(x_0 given x_t), as those of tokens do. The mean of values would lose the data's spread.
    Raises Refused for fresh outside [0, 1] and for guesses that are no such.
    """

    families: ClassVar[frozenset[str]] = ANY
    needs: ClassVar[frozenset[str]] = KEEP
    jumps: ClassVar[frozenset[str]] = frozenset({"none", "data", "any"})
    batch_times: ClassVar[bool] = True
    default_steps: ClassVar[int] = 4

    fresh: float = 0.0

    aliases: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "renoise": {"fresh": 1.0},
        "consistency": {"fresh": 1.0},
        "cm": {"fresh": 1.0},
        "lcm": {"fresh": 1.0},
    }

    def __post_init__(self) -> None:
        if not 0 <= self.fresh <= 1:
            raise Refused(f"jump needs fresh in [0, 1], not {self.fresh:g}")

    def takes(self) -> frozenset[str]:
        return ANY if self.fresh == 1 else VALUES

    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        process, kept = denoiser.process, math.sqrt(1 - self.fresh**2)
        if self.fresh < 1 and denoiser.jumps != "any":
            raise Refused(
                f"jump with fresh = {self.fresh:g} needs a flow map, and this model is {jumps.WORDS[denoiser.jumps]}: "
                f"{jumps.ADVICE[denoiser.jumps]}"
            )
        if denoiser.jumps == "none":
            guess = denoiser(x_t, t, **cond)
            _refuse_mean(process.family, guess)
            keep = torch.zeros((), dtype=torch.float64)
        else:
            guess = denoiser(x_t, t, to=_level(process.schedule, s, kept), **cond).mean_only()
            keep = kept * process.keep(s, t, x_t)
        return process.bridge(x_t, guess, s, t, keep), None


def _level(schedule: Any, s: Tensor, kept: float) -> Tensor:
    """The time at which sigma / alpha is this share of its value at s."""
    if kept in (0, 1):
        return s * kept
    return torch.where(s > 0, schedule.time(schedule.log_snr(s) - 2 * math.log(kept)), s)


def _refuse_mean(family: str, guess: Distribution) -> None:
    """Raises Refused for a guess of values that is the mean of the data, without what the data vary around it."""
    if family == "values" and not guess.reported:
        raise Refused(
            "renoise adds noise to the guess again, which is for consistency functions and flow maps, and this model "
            f"is {jumps.WORDS['none']}: {jumps.ADVICE['none']}"
        )
