"""How data is destroyed, and the bridge between two noise levels: the one equation."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.schedule import Schedule


class Process(ABC):
    """Every transition of a family:  x_s = keep x_t + pull x_0 + fresh noise,  pull = alpha_s - keep alpha_t.

    Asking for the right marginal at s leaves one number free, `keep`: the whole difference between samplers.
    Values mix the samples themselves, tokens mix probabilities. s and t are any two times in [0, 1], () or (batch,):
    s cleaner than t leads back, s noisier than t onward. A process with other matrices than these mixtures
    (`Transitions`) has no `keep`, and leads back only.
    family: "values", "tokens" or "mixed", what is destroyed. keeps: whether it has a `keep`. default_sampler,
    default_grid: what to sample with when nobody says, by name. absorbing: the token that all noise is, the mask; None
    where there is none.
    """

    schedule: Schedule
    family: ClassVar[str]
    keeps: ClassVar[bool] = True
    default_sampler: ClassVar[str] = "ancestral"
    default_grid: ClassVar[str] = "even"

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, a mask among them; 0 of values."""
        return 0

    @property
    def absorbing(self) -> int | None:
        """The mask."""
        return None

    @abstractmethod
    def point(self, x_0: Any) -> Distribution:
        """Certainty: the distribution that puts everything on x_0."""

    @abstractmethod
    def prior(self, shape: Any, t: Tensor | float = 1.0) -> Distribution:
        """Where sampling starts: q(x_1), or its like at an earlier t. shape: (batch, *shape)."""

    @abstractmethod
    def marginal(self, x_0: Any, t: Tensor | float) -> Distribution:
        """q(x_t given x_0)."""

    @abstractmethod
    def bridge(
        self, x_t: Any, x_0: Any, s: Tensor | float, t: Tensor | float, keep: Tensor | None = None
    ) -> Distribution:
        """q(x_s given x_t, x_0), averaged over the belief x_0.

        keep = None is the Markov process: reversed, or, where s is noisier than t, its forward kernel q(x_s given x_t).
        """

    @abstractmethod
    def keep(self, s: Tensor | float, t: Tensor | float, like: Any, eta: float = 0.0) -> Tensor:
        """The share of x_t that stays on the way from t to s. eta = 0: as little fresh noise as can be; 1: that of the
        Markov process.
        """

    def shown(self, x_t: Any, t: Tensor | float) -> Any:
        """x_t as bright as data at every t, to be looked at."""
        return x_t
