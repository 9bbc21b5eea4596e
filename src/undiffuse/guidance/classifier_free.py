"""Classifier-free guidance: extrapolate from the guess without the condition through the guess with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from undiffuse.core.condition_dropout import drop_mask
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.errors import Refused
from undiffuse.core.families import ANY
from undiffuse.guidance.composition import composed
from undiffuse.guidance.extrapolation import Extrapolation, Interval, within


@dataclass(frozen=True)
class ClassifierFree(Extrapolation):
    """guess = without.blend(with, weight) = without + weight (with - without): 1 is the plain conditional guess, in one
    call; 0 has the unconditional's mean. A variance is that of the guess with the condition.

    The paper counts w = weight - 1. weight: or one for each of several conditions, by name (arXiv:2206.01714, eq. 11):

        guess = g(none of them) + sum_c weight_c (g(only c of them) - g(none of them)),

    all in one call; of values, the variance is that of the guess with the last of them. without: another denoiser for
    the unconditional guess, which is told no condition; none: this one with its conditions dropped, both in one call.
    hide: the conditions that are dropped, none: all; the others stay in every guess. negative: values (1, ...) that
    stand in the place of conditions where these would be dropped, such as a prompt of what samples should not show.
    interval, rescale, parallel, largest: see `Extrapolation`; the last three are for one weight.
    The guided guess is not the one of the tilted density p(x given c)^weight p(x)^(1 - weight): see the docs on
    guidance. Source: arXiv:2207.12598, eq. 6.
    """

    families: ClassVar[frozenset[str]] = ANY

    denoiser: Denoiser
    without: Denoiser | None = None
    weight: float | Mapping[str, float] = 1.0  # pyright: ignore[reportIncompatibleVariableOverride]
    interval: Interval | None = None
    rescale: float = 0.0
    parallel: float = 1.0
    largest: float = math.inf
    hide: tuple[str, ...] | None = None
    negative: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    aliases: ClassVar[tuple[str, ...]] = ("cfg", "classifier_free_guidance")

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.weight, Mapping):
            if not self.weight:
                raise Refused("guidance by several weights needs a condition's name and weight, and there is none")
            if self.without is not None or self.hide is not None or self.rescale or self.parallel != 1 or self.bounded:
                raise Refused("several weights guide one denoiser alone, without rescale, parallel, largest and hide")

    @property
    def bounded(self) -> bool:
        """Whether the difference has a largest norm."""
        return not math.isinf(self.largest)

    def no_density(self) -> str:
        if isinstance(self.weight, Mapping):
            return "guidance by several weights moves the guesses away from the means of any one density"
        return super().no_density()

    def __call__(self, x_t: Any, t: Tensor | float, **cond: Any) -> Distribution:
        if not isinstance(self.weight, Mapping):
            return super().__call__(x_t, t, **cond)
        share = within(self.interval, self.process.schedule, t, 1.0, otherwise=0.0)
        if not isinstance(share, Tensor) and share == 0:
            return self.denoiser(x_t, t, **cond)
        for name in self.weight:
            if name not in cond:
                raise Refused(f"guidance has a weight for {name!r}, and the conditions given are: {', '.join(cond)}")
        names = list(self.weight)
        sets = [set(names), *({*names} - {name} for name in names)]
        plain = [set()] if isinstance(share, Tensor) else []  # the guess of samples outside the interval
        none, *alone = self._stacked(x_t, t, cond, [*sets, *plain])
        guess = composed(none, alone[: len(names)], [self.weight[name] for name in names])
        return alone[-1].blend(guess, share) if isinstance(share, Tensor) else guess

    def pair(self, x_t: Any, t: Tensor | float, cond: Mapping[str, Any]) -> tuple[Distribution, Distribution]:
        if self.without is not None:
            return self.without(x_t, t), self.denoiser(x_t, t, **cond)
        better, worse = self._stacked(x_t, t, cond, [set(), None if self.hide is None else set(self.hide)])
        return worse, better

    def _stacked(
        self, x_t: Any, t: Tensor | float, cond: Mapping[str, Any], dropped: Sequence[set[str] | None]
    ) -> list[Distribution]:
        """A guess for each set of conditions to drop (None: all), from one call on so many copies of the batch."""
        t, k = torch.as_tensor(t, dtype=torch.float64), len(dropped)
        copies = {name: self._beside(name, value, dropped) for name, value in cond.items() if name != "drop"}
        x = _copied(x_t, k)
        some: Tensor = next(iter(x.values())) if isinstance(x, dict) else x  # any part tells the batch
        n = len(some) // k

        def drop(name: str | None) -> Tensor:
            told = name in self.negative
            rows = torch.tensor(
                [not told and (d is None or name in d) for d in dropped], dtype=torch.bool, device=some.device
            ).repeat_interleave(n)
            before = drop_mask(cond.get("drop"), name or "")
            return rows if before is None else rows | _copied(before, k)

        together = None in dropped and not self.negative and not isinstance(cond.get("drop"), Mapping)
        drops = drop(None) if together else {name: drop(name) for name in copies}
        guesses = self.denoiser(x, _copied(t, k), drop=drops, **copies)
        return [guesses.rows(slice(i * n, (i + 1) * n)) for i in range(k)]

    def _beside(self, name: str, value: Any, dropped: Sequence[set[str] | None]) -> Any:
        """A condition for each guess: the negative one, if there is one, where it is dropped."""
        if name not in self.negative:
            return _copied(value, len(dropped))
        instead = self.negative[name].to(value).expand_as(value)
        return torch.cat([instead if d is None or name in d else value for d in dropped])


def _copied(batch: Any, count: int) -> Any:
    """A batch, or each part of one, behind itself, so often; one number for the whole batch as it is."""
    if not isinstance(batch, Tensor | Mapping) or (isinstance(batch, Tensor) and batch.ndim == 0):
        return batch
    if isinstance(batch, Mapping):
        return {name: _copied(part, count) for name, part in batch.items()}
    return torch.cat([batch] * count)
