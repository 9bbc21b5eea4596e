"""What a network of tokens gives, and the belief p(x_0 given x_t) that it stands for, all that samplers ever see.

A belief is averaged exactly by the process's bridge. The product form of D3PM and of multinomial diffusion, which plugs
a guess p~ into Bayes' posterior, is that very average for the belief  p(x_0 given x_t) ~ p~(x_0) q(x_t given x_0):
    sum_k p~(k) q(x_t given k) q(x_s given x_t, k) = q(x_t given x_s) sum_k p~(k) q(x_s given k).
So p~ is what is known of a token without looking at its own x_t, and no posterior: see docs/tokens.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from undiffuse.core.distribution.carried_over import Carried
from undiffuse.core.distribution.tokens import Categories, Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.heads.head import Belief, Head, per_sample
from undiffuse.core.heads.ratios import believed

LEAST = 1e-6  # chance of every level beside a logistic law's
Output = Callable[[Tensor, Tensor, Tensor | float, Any, int], Categories]


def probabilities(logits: Tensor, x_t: Tensor, t: Tensor | float, process: Any, symbols: int) -> Categories:
    """p = softmax(logits)."""
    return Tokens(_data(logits, symbols).log_softmax(-1))


def subs(logits: Tensor, x_t: Tensor, t: Tensor | float, process: Any, symbols: int) -> Categories:
    """p = softmax(logits) where x_t is the mask, else certainly x_t; never the mask (arXiv:2406.07524, SUBS)."""
    guess = Tokens(_wide(logits)[..., :symbols].log_softmax(-1))
    return Carried(x_t, guess, process.absorbing, process.vocabulary)


def plug_in(logits: Tensor, x_t: Tensor, t: Tensor | float, process: Any, symbols: int) -> Categories:
    """p ~ softmax(logits) q(x_t given x_0): the product form of arXiv:2107.03006 and arXiv:2102.05379."""
    if process.absorbing == symbols:
        return subs(logits, x_t, t, process, symbols)  # q is onehot(x_t), and alike for every symbol behind a mask
    likelihood = process.likelihood(x_t, t)
    likelihood[..., symbols:] = 0
    possible = likelihood > 0
    possible = possible | ~possible.any(-1, keepdim=True)
    chances = _data(logits, symbols).double() + torch.where(likelihood > 0, likelihood, 1.0).log()
    return Tokens(chances.masked_fill(~possible, -torch.inf).log_softmax(-1))


def logistic(outputs: Tensor, x_t: Tensor, t: Tensor | float, process: Any, symbols: int) -> Categories:
    """The product form of p~ = a logistic law cut to the symbols, which stand for even levels v from -1 to 1:

    p~(k) ~ cdf((v_k + d/2 - m)/e^(h - 2)) - cdf((v_k - d/2 - m)/e^(h - 2)) + 1e-6,  m = tanh(v(x_t) + outputs[..., 0]),
    h = outputs[..., 1], d the distance of levels, v(mask) = 0. What is added keeps a narrow law from a loss without
    end where it is wrong. Source: arXiv:2107.03006, its truncated logistic, and released code.
    """
    outputs = _wide(outputs)
    levels = torch.linspace(-1, 1, symbols, dtype=outputs.dtype, device=outputs.device)
    shown = torch.where(x_t < symbols, levels[x_t.clamp(max=symbols - 1)], 0.0)
    centre, sharpness = (shown + outputs[..., 0]).tanh(), (2 - outputs[..., 1]).exp()
    half = 1 / (symbols - 1)
    above = (levels + half - centre[..., None]) * sharpness[..., None]
    below = (levels - half - centre[..., None]) * sharpness[..., None]
    chances = logsigmoid(above) + logsigmoid(-below) + (-(below - above).expm1()).log()
    chances = torch.logaddexp(chances, chances.new_tensor(LEAST).log())
    beyond = chances.new_zeros((*chances.shape[:-1], process.vocabulary - symbols))
    return plug_in(torch.cat([chances, beyond], dim=-1), x_t, t, process, symbols)


def ratios(logits: Tensor, x_t: Tensor, t: Tensor | float, process: Any, symbols: int) -> Categories:
    """The belief of the ratios p_t(y)/p_t(x_t) = e^logits (arXiv:2310.16834): see `ratios.believed`.

    Those of a mask are alpha/sigma p(y), and sum to alpha/sigma whatever the network says: this is `subs`.
    """
    if process.absorbing == symbols:
        return subs(logits, x_t, t, process, symbols)
    return believed(process, x_t, logits, t)


OUTPUTS: dict[str, Output] = {
    "probabilities": probabilities,
    "subs": subs,
    "plug_in": plug_in,
    "logistic": logistic,
    "ratios": ratios,
}
WIDTHS = {"logistic": 2}  # numbers that a network gives for a token; others: one for each of the vocabulary


@dataclass(frozen=True)
class TokenHead(Head):
    """p(x_0 given x_t) = output(network(x_t, c_time)) for tokens x_t (batch, *shape) int64.

    output: what the network gives, logits (batch, *shape, vocabulary) or for "logistic" two numbers a token:
    "probabilities", "subs", "plug_in", "logistic" or "ratios", see the functions of these names. All become one belief.
    Softmaxes are taken in float32 or better.
    symbols: how many of the process's tokens are data, the first ones; those behind them, a mask, are never guessed.
    None: all of them, and for "subs" all but the mask.
    Raises Refused for an unknown output; a Predictor refuses one that its process has none for.
    """

    family: ClassVar[str] = "tokens"
    output: str = "probabilities"
    symbols: int | None = None

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise Refused(f"the denoiser has no output {self.output!r}; it has: {', '.join(OUTPUTS)}")

    def data_symbols(self, process: Any) -> int:
        if self.symbols is not None:
            return self.symbols
        behind = self.output == "subs" and process.absorbing == process.vocabulary - 1
        return process.vocabulary - 1 if behind else process.vocabulary

    def check(self, process: Any) -> None:
        symbols, mask = self.data_symbols(process), process.absorbing
        if self.output == "subs" and (mask is None or mask < symbols):
            what = "has none" if mask is None else f"has token {mask}, which is one of the {symbols} symbols of data"
            raise Refused(
                f"output 'subs' carries over what is not masked and needs a mask that is no data; this {what}"
            )
        if self.output == "ratios" and not process.keeps:
            raise Refused("output 'ratios' needs a noise vector; for general matrices there is 'plug_in'")
        if self.output == "logistic" and symbols < 3:
            raise Refused(f"output 'logistic' is for ordered levels, 3 or more, not {symbols}")

    def open(self, process: Any, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Belief]:
        """The network is shown the tokens themselves."""
        output, symbols = OUTPUTS[self.output], self.data_symbols(process)
        c_time = per_sample(process.schedule.index(t), x_t)
        return x_t, c_time, lambda given: output(given, x_t, t, process, symbols)

    def timeless(self, process: Any) -> bool:
        return self.output in ("probabilities", "subs") or process.absorbing == self.data_symbols(process)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _data(logits: Tensor, symbols: int) -> Tensor:
    """The logits in float32 or better, with nothing left for tokens that are no data."""
    logits = _wide(logits)
    if symbols == logits.shape[-1]:
        return logits
    beyond = torch.arange(logits.shape[-1], device=logits.device) >= symbols
    return logits.masked_fill(beyond, -torch.inf)
