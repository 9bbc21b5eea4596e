"""Which bridge to take: one reverse step as a distribution."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core import families
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.random import Random


class Sampler(ABC):
    """One reverse step from t to s as a distribution; nothing is mutated,
    `memory` is what the sampler handed back last time.

    families: of processes that it samples, "values", "tokens", "mixed". needs: what a process of these must offer:
    "keep", bridges of any share of x_t, "mask", noise that is one token; see `families.check`, which refuses others.
    jumps: of denoisers whose guesses it can use, see `Denoiser` and `jumps.check`, which refuses others.
    masks: whether it leaves padding out of items of different sizes, see `Predictor`: not where it reads all places.
    batch_times: whether t and s of a step may be (batch,), one time a sample; else they are ().
    grid, by name, and default_steps: the times it takes when nobody says; "": the default grid of the process.
    """

    families: ClassVar[frozenset[str]] = families.VALUES
    needs: ClassVar[frozenset[str]] = frozenset()
    jumps: ClassVar[frozenset[str]] = frozenset({"none", "any"})
    masks: ClassVar[bool] = True
    batch_times: ClassVar[bool] = False
    grid: ClassVar[str] = ""
    default_steps: ClassVar[int] = 20

    @property
    def inner(self) -> "Sampler | None":
        """The sampler whose steps this one takes or changes, if there is one."""
        return None

    @property
    def convergence_order(self) -> int:
        """p of a deterministic sampler whose error falls as steps^-p, of one that remembers with an exact history; 0:
        fresh noise, or an error by tolerance.
        """
        return 0

    def takes(self) -> frozenset[str]:
        """The families that it samples as it is set: all of `families`, or fewer."""
        return self.families

    @abstractmethod
    def step(
        self, denoiser: Denoiser, x_t: Any, t: Tensor, s: Tensor, memory: Any = None, *, random: Random, **cond: Any
    ) -> tuple[Distribution, Any]:
        """p(x_s given x_t) and the memory for the next step. t > s are in float64 on the CPU, () or with `batch_times`
        (batch,), with the same guess, memory and law for a sample as alone; random is this step's own stream.
        """
