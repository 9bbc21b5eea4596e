"""Token classifier: the guess of every masked token, weighed by what a classifier says once it is revealed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from undiffuse.core.broadcast import column
from undiffuse.core.condition_dropout import drop_mask
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.distribution import Distribution
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.families import MASK, TOKENS
from undiffuse.guidance.gradient import gradient, parted
from undiffuse.guidance.wrapping import Guided

SEQUENCES = 4096  # that the classifier sees at once


@dataclass(frozen=True)
class TokenClassifier(Guided):
    """guess(x_0^i = k) ~ p(x_0^i = k given x_t) p(y given x_t with its i-th mask replaced by k)^weight.

    With weight 1, a mask and the exact p(y given x_t) it is p(x_0^i given x_t, y).
    form: "exact" asks the classifier about each symbol at each mask, a vocabulary of calls for each of them: for
    small ones; classifier(x_t, t, **cond) gives log p(y given x_t), (batch,). "gradient" takes the first order,
    log p(y given x^{i to k}) = log p(y given x) + d/d onehot(x)_ik + const, at the price of one call, for a
    classifier(onehot, t, **cond) of floats (batch, *shape, vocabulary) (arXiv:2406.01572).
    cond are the conditions named in `reads`, without any of which nothing is guided; tells: whether the denoiser is
    told them, too. Raises Refused for another form, and for noise without a mask.
    """

    families: ClassVar[frozenset[str]] = TOKENS
    needs: ClassVar[frozenset[str]] = MASK

    denoiser: Denoiser
    classifier: Callable[..., Tensor]
    weight: float = 1.0
    form: Literal["exact", "gradient"] = "exact"
    reads: tuple[str, ...] = ("label",)
    tells: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in _FORMS:
            raise Refused(f"token_classifier has the forms {' and '.join(_FORMS)}, not {self.form!r}")

    def no_density(self) -> str:
        return self.denoiser.no_density() or "a classifier's chances need not belong to any law of the data"

    def __call__(self, x_t: Tensor, t: Tensor | float, **cond: Any) -> Distribution:
        read, told = parted(cond, self.reads, self.tells)
        guess: Any = self.denoiser(x_t, t, **told)
        if not read or self.weight == 0:
            return guess
        masked = x_t == self.process.absorbing
        for name in read:
            if (dropped := drop_mask(cond.get("drop"), name)) is not None:
                masked = masked & ~column(dropped, x_t)
        log_probs = guess.log_probs
        shift = _FORMS[self.form](self, x_t, t, read, masked).to(log_probs)
        return Tokens(torch.where(masked[..., None], (log_probs + self.weight * shift).log_softmax(-1), log_probs))


def _exact(own: TokenClassifier, x_t: Tensor, t: Tensor | float, read: dict[str, Any], masked: Tensor) -> Tensor:
    """log p(y) with each symbol in the place of each mask, (batch, *shape, vocabulary); 0 at other places."""
    size, places = own.process.vocabulary, masked.nonzero()
    symbols, times = torch.arange(size, device=x_t.device), torch.as_tensor(t)
    found = torch.zeros((*x_t.shape, size), dtype=torch.float64, device=x_t.device)
    for some in places.split(max(1, SEQUENCES // size)):
        rows = some[:, 0].repeat_interleave(size)
        each = torch.arange(len(rows), device=x_t.device)
        x = x_t[rows]
        x[(each, *some[:, 1:].repeat_interleave(size, 0).unbind(1))] = symbols.repeat(len(some))
        given = {name: value[rows] for name, value in read.items()}
        told = own.classifier(x, times[rows.to(times.device)] if times.ndim else t, **given)
        found[some.unbind(1)] = told.reshape(-1, size).double()
    return found


def _gradient(own: TokenClassifier, x_t: Tensor, t: Tensor | float, read: dict[str, Any], masked: Tensor) -> Tensor:
    symbols = (*x_t.shape, own.process.vocabulary)
    onehot = torch.zeros(symbols, dtype=torch.float32, device=x_t.device).scatter(-1, x_t[..., None], 1.0)
    return gradient(lambda x: own.classifier(x, t, **read), onehot, "the classifier")


_FORMS: dict[str, Callable[[TokenClassifier, Tensor, Any, dict[str, Any], Tensor], Tensor]] = {
    "exact": _exact,
    "gradient": _gradient,
}
