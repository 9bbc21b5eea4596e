"""Tokens with general transition matrices: noise that turns a token into some others rather than into any."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.distribution.tokens import Categories, Tokens, logs, unlike
from undiffuse.core.errors import Refused
from undiffuse.core.process.process import Process
from undiffuse.core.schedule import Schedule

LARGEST = 2**31  # numbers of all matrices


@dataclass(frozen=True, eq=False)
class Transitions(Process):
    """q(x_i given x_{i-1}) = matrices[i - 1][x_{i-1}], rows from, columns to; cumulative products in float64.

    schedule: of T steps, the clock; a time between two of its own counts as the next noisier one. matrices: (T, K, K),
    or (K, K) for the same in every step, any rows of probabilities: see `kernels` for D3PM's. noise_end: where sampling
    starts, (K,); None: the mean of the last cumulative matrix's rows, to which they all come.
    Its only reverse is the Markov process's, by Bayes; no number `keep` says how to do otherwise.
    Rows are normalised where float32 rounded them.
    Source: arXiv:2107.03006, sec. 3. Raises Refused for another shape and rows that do not sum to 1, naming the row.
    """

    family: ClassVar[str] = "tokens"
    keeps: ClassVar[bool] = False
    schedule: Schedule
    matrices: Tensor = field(repr=False)
    noise_end: Sequence[float] | Tensor | None = None
    _cumulative: dict[torch.device, Tensor] = field(default_factory=dict[torch.device, Tensor], init=False, repr=False)
    _kept: dict[tuple[int, int, torch.device], Tensor] = field(
        default_factory=dict[tuple[int, int, torch.device], Tensor], init=False, repr=False
    )

    def __post_init__(self) -> None:
        steps, found = self.schedule.steps, torch.as_tensor(self.matrices, dtype=torch.float64, device="cpu")
        if not steps:
            raise Refused(f"transitions take a schedule of steps; {registry.name_of(self.schedule)} has none")
        found = found.expand(steps, *found.shape) if found.ndim == 2 else found
        if found.ndim != 3 or len(found) != steps or found.shape[1] != found.shape[2] or found.shape[1] < 2:
            raise Refused(
                f"transitions need a square matrix, or one for each of the {steps} steps of the schedule; got shape "
                f"{tuple(self.matrices.shape)}"
            )
        if found.numel() > LARGEST:
            raise Refused(f"{steps:,} matrices of {found.shape[1]:,} symbols are too large: take Categorical")
        found = _normalised(found)
        object.__setattr__(self, "matrices", found)
        cumulative = torch.eye(found.shape[1], dtype=torch.float64).repeat(steps + 1, 1, 1)
        for i in range(steps):
            cumulative[i + 1] = cumulative[i] @ found[i]
        self._cumulative[torch.device("cpu")] = cumulative
        end = cumulative[-1].mean(0) if self.noise_end is None else torch.as_tensor(self.noise_end).double()
        if end.shape != (self.vocabulary,) or bool(unlike(end)):
            raise Refused(f"noise_end needs {self.vocabulary} probabilities that sum to 1; these sum to {end.sum():g}")
        end = end.clamp(min=0)
        object.__setattr__(self, "noise_end", tuple(map(float, end / end.sum())))

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, a mask among them."""
        return self.matrices.shape[-1]

    def point(self, x_0: Tensor) -> Tokens:
        return Tokens(self._onehot(x_0).log())

    def prior(self, shape: tuple[int, ...] | torch.Size, t: Tensor | float = 1.0) -> Tokens:
        """`noise_end`, at every t."""
        return Tokens(torch.as_tensor(self.noise_end, dtype=torch.float64).log().expand(*shape, self.vocabulary))

    def marginal(self, x_0: Tensor, t: Tensor | float) -> Tokens:
        """The rows x_0 of Q_1 ... Q_t."""
        self._inside(x_0)
        return Tokens(_rows(self._until(self._step(t), x_0.device), x_0).log())

    def likelihood(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """q(x_t given x_0 = k) over k, (batch, *shape, vocabulary), float64."""
        return _rows(self._until(self._step(t), x_t.device).transpose(-1, -2), x_t)

    def forward(self, weights: Tensor, t: Tensor | float) -> Tensor:
        """sum_k weights(k) q(x_t = y given x_0 = k) over y, in weights' shape (batch, *shape, vocabulary)."""
        return _mixed(weights, self._until(self._step(t), weights.device))

    def bridge(
        self, x_t: Tensor, x_0: Categories, s: Tensor | float, t: Tensor | float, keep: Tensor | None = None
    ) -> Tokens:
        """sum_k p(k) q(x_t given x_s) q(x_s given k) / q(x_t given k): Bayes' posterior averaged over the belief.

        A k that could not have become x_t counts for nothing. Raises ValueError where s is noisier than t, and Refused
        for any keep.
        """
        if keep is not None:
            raise _no_keep()
        self._inside(x_t)
        at_s, at_t, device = self._step(s), self._step(t), x_t.device
        weight = _ratio(x_0.mean.double(), _rows(self._until(at_t, device).transpose(-1, -2), x_t))
        back = _rows(self._between(at_s, at_t, device).transpose(-1, -2), x_t)  # q(x_t given x_s), over x_s
        probs = back * _mixed(weight, self._until(at_s, device))
        total = probs.sum(-1, keepdim=True)
        return Tokens(logs(torch.where(total > 0, _ratio(probs, total), self._onehot(x_t))))

    def keep(self, s: Tensor | float, t: Tensor | float, like: Tensor, eta: float = 0.0) -> Tensor:
        """Raises Refused: what is left of x_t is no number where tokens turn into some others."""
        raise _no_keep()

    def score(self, x_t: Tensor, guess: Tokens, t: Tensor | float) -> Tensor:
        """Raises Refused: the gradient of a density is for values."""
        raise Refused("tokens have no score: train and sample them by what works with probabilities, such as denoising")

    def _step(self, t: Tensor | float) -> Tensor:
        """The step of each time, () or (batch,), on the CPU: a time between two is the later."""
        return self.schedule.step(t).cpu()

    def _until(self, step: Tensor, device: torch.device) -> Tensor:
        """Q_1 ... Q_step, (K, K) or (batch, K, K)."""
        if device not in self._cumulative:
            self._cumulative[device] = self._cumulative[torch.device("cpu")].to(device)
        return self._cumulative[device][step.to(device)]

    def _between(self, s: Tensor, t: Tensor, device: torch.device) -> Tensor:
        """Q_{s+1} ... Q_t, (K, K) or (batch, K, K); raises ValueError where s is noisier than t."""
        if bool((s > t).any()):
            raise ValueError("the bridge of transitions leads towards data: s must not be noisier than t")
        if s.ndim == t.ndim == 0:
            return self._product(int(s), int(t), device)
        pairs = [
            (int(a), int(b)) for a, b in zip(s.expand(t.shape or s.shape), t.expand(s.shape or t.shape), strict=True)
        ]
        each = {pair: place for place, pair in enumerate(dict.fromkeys(pairs))}
        found = torch.stack([self._product(*pair, device) for pair in each])
        return found[torch.tensor([each[pair] for pair in pairs], dtype=torch.int64, device=device)]

    def _product(self, s: int, t: int, device: torch.device) -> Tensor:
        if (s, t, device) not in self._kept:
            found = torch.eye(self.vocabulary, dtype=torch.float64)
            for matrix in self.matrices[s:t]:
                found = found @ matrix
            self._kept[s, t, device] = found.to(device)
        return self._kept[s, t, device]

    def _onehot(self, x: Tensor) -> Tensor:
        self._inside(x)
        return torch.nn.functional.one_hot(x.long(), self.vocabulary).double()

    def _inside(self, x: Tensor) -> None:
        size = self.vocabulary
        if x.is_floating_point() or (
            x.device.type == "cpu" and x.numel() and not 0 <= int(x.min()) <= int(x.max()) < size
        ):
            found = f"{x.dtype} from {x.min():g} to {x.max():g}" if x.numel() else f"none, of {x.dtype}"
            raise Refused(f"tokens must be integers 0 ... {size - 1}; got {found}")


def _normalised(matrices: Tensor) -> Tensor:
    """The rows, without what rounding left of them; raises Refused for the first that is no law, with its sum."""
    wrong = unlike(matrices).nonzero()
    if not len(wrong):
        rows = matrices.clamp(min=0)
        return rows / rows.sum(-1, keepdim=True)
    step, row = map(int, wrong[0])
    total, least = float(matrices[step, row].sum()), float(matrices[step, row].min())
    hint = "" if bool(unlike(matrices[step].T).any()) else ": its columns do, so transpose it"
    what = f"has a negative number, {least:.3g}," if least < 0 else f"sums to {total:.6g}"
    raise Refused(
        f"row {row} of the transition matrix of step {step + 1} {what}; every row (from) must be probabilities that "
        f"sum to 1{hint}"
    )


def _no_keep() -> Refused:
    return Refused(
        "keep-samplers (ddim, remask ...) need a noise vector; general matrices have only their Markov reverse: take "
        "ancestral"
    )


def _rows(matrices: Tensor, x: Tensor) -> Tensor:
    """The rows x of (K, K), or of a matrix for each sample: (batch, *shape, K)."""
    x = x.long()
    if matrices.ndim == 2:
        return matrices[x]
    which = torch.arange(len(x), device=x.device).reshape(-1, *(1,) * (x.ndim - 1))
    return matrices[which, x]


def _mixed(weights: Tensor, matrices: Tensor) -> Tensor:
    """weights @ matrices, sample by sample."""
    if matrices.ndim == 2:
        return weights @ matrices
    return (weights.flatten(1, -2) @ matrices).reshape(weights.shape)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, and 0 where below is nothing, with a gradient that is 0 there."""
    there = below >= torch.finfo(below.dtype).tiny
    return torch.where(there, above / torch.where(there, below, 1.0), 0.0)
