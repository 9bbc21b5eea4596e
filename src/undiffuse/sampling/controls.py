"""Controls of a text as a person writes them, and the sampler that follows them."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.codecs.text import BLANK, UNKNOWN, words
from undiffuse.core.errors import Refused, near
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.controls import Keyword, Length, Pattern
from undiffuse.guidance.gradient_control import GradientControl
from undiffuse.sampling.denoising_run import DenoisingRun

Control = Callable[[Tensor], Tensor]  # log-chances (batch, length, vocabulary) to log p(c), (batch,)
WAYS = 'keyword:WORD, length:NUMBER or pattern:TEXT, as "keyword:war", "length:12" or "pattern:the ____ of [war|peace]"'
PARTS = re.compile(r"(\[[^\]]*\]|_+|\?+)")
SCARCE = 1e-9  # the share of a symbol that the data do not have


def controlled(model: DenoisingRun, sampler: Sampler, control: Sequence[str | Control], weight: float) -> Sampler:
    """The sampler that follows these controls together, see `GradientControl`.

    A text is one of WAYS; a function of yours gets log-chances (batch, length, vocabulary) and gives (batch,).
    log p(w given x_s) at a place is Bayes' rule for that place alone, with the symbols' frequencies in the data: exact
    for texts of independent tokens. What neighbours say is the model's own part, log p(x_s given x_t).
    Raises Refused for models without embeddings, and for controls that cannot be read.
    """
    table = model.denoiser.embeddings
    if table is None:
        raise Refused("control needs a model of embeddings, as the recipe text-diffusion-lm trains; this one has none")
    wanted = [understood(model, each) if isinstance(each, str) else each for each in control]
    shares = torch.tensor(model.codec.frequencies or (1.0,), dtype=torch.float64)
    prior = shares.clamp(min=SCARCE).log().float().to(model.device)

    def log_likelihood(x: Tensor, s: Tensor) -> Tensor:
        alpha, sigma = (float(c) for c in (table.schedule.alpha(s), table.schedule.sigma(s)))
        spread = sigma**2 + (alpha * table.sigma_0) ** 2
        log_probs = (table.logits(x, alpha, spread) + prior).log_softmax(-1)
        return torch.stack([each(log_probs) for each in wanted]).sum(0).to(x)

    return GradientControl(sampler, log_likelihood, weight)


def met(control: Control, tokens: Tensor | np.ndarray, symbols: int) -> Tensor:
    """Whether each text (batch, length) is as its control wants it, booleans (batch,)."""
    certain = torch.nn.functional.one_hot(torch.as_tensor(tokens).long(), symbols).double().log()
    return control(certain) > -1e-6


def understood(model: DenoisingRun, text: str) -> Control:
    """The control that a text asks for; raises Refused, with what is possible, for others."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in _READ:
        raise Refused(f"there is no control {text!r}{near(kind, list(_READ))}: write {WAYS}")
    return _READ[kind](model, rest)


def _keyword(model: DenoisingRun, text: str) -> Keyword:
    tokens = _tokens(model, text)
    if not 1 <= len(tokens) <= model.shape[0]:
        raise Refused(f"a keyword has 1 to {model.shape[0]} tokens here, and {text!r} has {len(tokens)}")
    return Keyword(tuple(tokens))


def _length(model: DenoisingRun, text: str) -> Length:
    pad = model.codec.pad
    if pad < 0:
        raise Refused(f"length:{text}: the run's texts fill all their places; train with data.packing = 'pad'")
    if not text.strip().isdecimal() or not 1 <= int(text) <= model.shape[0]:
        raise Refused(f"length: is followed by a number of tokens from 1 to {model.shape[0]}, not by {text!r}")
    return Length(int(text), pad)


def _pattern(model: DenoisingRun, text: str) -> Pattern:
    """`_` is any symbol (of words a run of them), `?` one with letters, `[a|b]` one of these; all else is itself."""
    codec: Any = model.codec
    sets: list[list[int]] = []
    spelled = [codec.text_of([i]) for i in range(codec.vocabulary)]
    letters = [i for i, symbol in enumerate(spelled) if symbol.isalpha()]
    texts = [i for i in range(codec.vocabulary) if i != codec.pad]
    for part in PARTS.split(text):
        count = len(part) if codec.letters else 1
        if part.startswith("["):
            alternatives = [_tokens(model, each) for each in part[1:-1].split("|")]
            if any(len(each) != 1 for each in alternatives):
                raise Refused(f"pattern: each alternative in {part} is one token, as [war|peace]")
            sets.append([each[0] for each in alternatives])
        elif part.startswith(BLANK):
            sets += [texts] * count
        elif part.startswith("?"):
            sets += [letters] * count
        else:
            sets += [[token] for token in _tokens(model, part)]
    if not 1 <= len(sets) <= model.shape[0] or not all(sets):
        raise Refused(f"a pattern has 1 to {model.shape[0]} places here, and {text!r} has {len(sets)}: {WAYS}")
    allowed = torch.zeros(len(sets), codec.vocabulary, dtype=torch.bool)
    for place, symbols in enumerate(sets):
        allowed[place, symbols] = True
    return Pattern(allowed)


def _tokens(model: DenoisingRun, text: str) -> list[int]:
    """The tokens of a text; raises Refused for what the run has no token of its own for."""
    codec: Any = model.codec
    tokens = codec.tokens_of(text).tolist()
    if UNKNOWN in codec.symbols and codec.symbols.index(UNKNOWN) in tokens:
        word = next(word for word in words(text) if word not in codec.symbols)
        raise Refused(f"{word!r} is not among the run's {len(codec.symbols):,} words{near(word, codec.symbols)}")
    return tokens


_READ: dict[str, Callable[[DenoisingRun, str], Control]] = {
    "keyword": _keyword,
    "length": _length,
    "pattern": _pattern,
}
