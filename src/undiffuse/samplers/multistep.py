"""DPM-Solver++ multistep: the guess, extrapolated from the last ones, one call a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.linear_multistep import LinearMultistep, line, polynomial


@dataclass(frozen=True)
class Multistep(LinearMultistep):
    """x_s = keep x_t + pull D + fresh noise, D the guess extrapolated in l = log(alpha/sigma) from the last `order`
    ones.

    order 1: D = D_0 (DDIM);  2: D = D_0 + (D_0 - D_1) h/(2 h_0);  3:
    the quadratic through D_0, D_1, D_2 integrated against e^l.
    h = l_s - l_t is this step's length, h_0 the last one's. Order 2 is DPM-Solver++(2M), with eta = 1 SDE-DPM-Solver++.
    Order 3 integrates its quadratic exactly; the published third order gives the quadratic's curvature half its weight.
    The first steps have the order that their history allows, and one that lands on sigma = 0 has order 1.
    Source: arXiv:2211.01095, alg. 2 and eq. 14.
    """

    order: int = 2
    eta: float = 0.0

    aliases: ClassVar[dict[str, dict[str, Any]]] = {
        "dpm++": {},
        "dpm_solver++": {},
        "dpm_solver_multistep": {},
        "dpm++2m": {},
        "dpm_solver++2m": {},
        "k_dpmpp_2m": {},
        "dpm++3m": {"order": 3},
        "dpm_solver++3m": {"order": 3},
        "dpm++2m_sde": {"eta": 1.0},
        "sde_dpm++2m": {"eta": 1.0},
        "sde_dpm_solver++": {"eta": 1.0},
        "k_dpmpp_2m_sde": {"eta": 1.0},
    }

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3) or not 0 <= self.eta <= 1:
            raise Refused(
                f"multistep has order 1, 2 or 3 and eta in [0, 1], not order {self.order} and eta {self.eta:g}"
            )

    @property
    def convergence_order(self) -> int:
        return 0 if self.eta else self.order

    @property
    def remember(self) -> int:
        return max(self.order - 1, 1)

    def keep(self, process: Any, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return process.keep(s, t, x_t, self.eta)

    def predict(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        levels = levels[: self.order]
        return line(levels, start, end) if len(levels) == 2 else polynomial(levels, start, end, 1 + self.eta)
