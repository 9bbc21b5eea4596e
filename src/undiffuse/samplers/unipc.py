"""UniPC: a predictor through the last guesses, and a corrector that takes the next step's call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.linear_multistep import LinearMultistep, line, polynomial


@dataclass(frozen=True)
class UniPC(LinearMultistep):
    """x_s = (sigma_s/sigma_t) x_t + pull D,  D the mean, weighed by e^l, of the polynomial in l = log(alpha/sigma)
    through the last `order` guesses.

    At the next step, which knows the guess at x_s, x_s is corrected by the polynomial through that one too, without a
    call; the last step's is not. With the corrector the error falls as steps^-(order + 1). A line through two guesses
    counts as half its rise times B(h)/(e^h - 1): variant "bh2" has B = e^h - 1, "bh1" B = h; what three guesses
    say does not depend on B.
    The first steps have the order that their history allows, and one that lands on sigma = 0 has order 1.
    Source: arXiv:2302.04867, alg. 1 and 2, sec. 3.4.
    """

    order: int = 2
    variant: Literal["bh1", "bh2"] = "bh2"

    aliases: ClassVar[dict[str, dict[str, Any]]] = {
        "unipc_multistep": {},
        "uni_pc_bh1": {"variant": "bh1"},
        "uni_pc_bh2": {"variant": "bh2"},
        "unipc3": {"order": 3},
    }

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise Refused(f"unipc has order 1, 2 or 3, not {self.order}")

    @property
    def convergence_order(self) -> int:
        return self.order + 1

    @property
    def remember(self) -> int:
        return self.order

    def predict(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        return self._shares(levels[: self.order], start, end)

    def correct(self, levels: Sequence[Tensor], used: int, start: Tensor, end: Tensor) -> Sequence[Tensor] | None:
        return self._shares(levels[: used + 1], start, end)

    def _shares(self, levels: Sequence[Tensor], start: Tensor, end: Tensor) -> Sequence[Tensor]:
        if len(levels) == 2:
            return line(levels, start, end, bh1=self.variant == "bh1")
        return polynomial(levels, start, end)
