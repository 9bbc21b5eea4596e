"""What a network is fed and what its output means: the interface of every parameterization (prediction type)."""

from abc import abstractmethod

from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.heads.head import Belief, Head, per_sample
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.schedule import Schedule


class Parameterization(Head):
    """guess = c_skip x_t + c_out F(c_in x_t, c_time): one row of the table of parameterizations.

    F is what the network outputs. alpha and sigma come in float64; all coefficients have their shape.
    """

    @abstractmethod
    def coefficients(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in."""

    def time(self, schedule: Schedule, t: Tensor) -> Tensor:
        """c_time: the schedule's step index unless a parameterization has its own."""
        return schedule.index(t)

    def target(self, x_0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What F should have said: (x_0 - c_skip x_t) / c_out."""
        c_skip, c_out, _ = self.coefficients(alpha, sigma)
        return (x_0 - c_skip * x_t) / c_out

    def open(self, process: Gaussian, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Belief]:
        """The coefficients are taken in float64."""
        c_skip, c_out, c_in = (c.to(x_t.dtype) for c in self.coefficients(*process.schedule.at(t, x_t)))
        c_time = per_sample(self.time(process.schedule, t), x_t)
        return c_in * x_t, c_time, lambda output: Normal(c_skip * x_t + c_out * output.to(x_t.dtype))


def needs_signal(alpha: Tensor, what: str) -> None:
    """Raises Refused where nothing of the data is left, as far as can be seen without waiting for a GPU."""
    if alpha.device.type == "cpu" and bool((alpha <= 0).any()):
        raise Refused(
            f"{what} prediction is undefined where alpha = 0: nothing of the data is left; "
            "use velocity or data, or start at a t where alpha > 0"
        )
