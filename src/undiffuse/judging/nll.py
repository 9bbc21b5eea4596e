"""How likely a run finds data: log-densities and bounds of each item, in the data's own units."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse import likelihood
from undiffuse.core.errors import Refused, unknown
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived import derived
from undiffuse.drawing.draw import LABEL, Advance
from undiffuse.judging import spelled
from undiffuse.likelihood import Bound, Decoder, Density
from undiffuse.likelihood.bound import TOKENS as TOKENS_OF
from undiffuse.model.conditions import requested, spread
from undiffuse.model.model import Model
from undiffuse.model.plan import at_once

BITS = 1 / math.log(2)
OWN = {"learned_range": "learned", "second_moment": "exact"}  # the bound's variance for what a denoiser says
PICKED = 100  # steps of the bound that each item looks at, of tokens if they are no more than USUAL; else fewer
USUAL, FEWEST = 20, 10
MOST = 512  # items at once
ITEMS = 64  # that `undiffuse evaluate` looks at; of tokens, which have a bound only, so many that there are TOKENS
TOKENS = 2**16

Bar = Callable[[str, str], Any]  # (what is done, its unit) -> a bar that is told (done, total)


@dataclass(frozen=True)
class Scores:
    """log p of each item in nats by the ODE, `bound`: the variational bound on it where asked for, both (count,).

    Tokens have a bound only: log_prob is None. Of integers: log-probabilities of the levels, bounded from below; of
    other numbers: densities in the data's units. error: what is left of the trace's estimate, nan where unknown. given:
    the condition they are given, or "". variance: of the bound's steps: the model's own where it learned or was tuned
    to one, else the posterior's. more: the standard errors that several probes and draws leave, and what spreading
    levels over their bins costs, in nats of each item.
    """

    log_prob: np.ndarray | None
    error: np.ndarray | None
    elements: int
    convention: str
    given: str
    bound: np.ndarray | None = None
    terms: Bound | None = None
    variance: str = ""
    more: dict[str, np.ndarray] = field(default_factory=dict)

    def bits(self, nats: np.ndarray) -> np.ndarray:
        """-nats in bits per dimension."""
        return -nats * (BITS / self.elements)

    def summary(self) -> dict[str, Any]:
        """Bits per dimension over all items with their standard errors, in JSON's types."""
        found: dict[str, Any] = {"convention": self.convention, "given": self.given, "elements": self.elements}
        for name, nats in (("ode", self.log_prob), ("bound", self.bound)):
            if nats is not None:
                bits = self.bits(nats)
                error = float(bits.std(ddof=1) / len(bits) ** 0.5) if len(bits) > 1 else None
                found[name] = {"bits_per_dim": float(bits.mean()), "standard_error": error}
                found["items"] = len(nats)
        if self.variance:
            found["bound"]["variance"] = self.variance
        if "dequantisation" in self.more:
            found["dequantisation"] = float(-self.bits(self.more["dequantisation"]).mean())
        return found

    def table(self, data: Dataset) -> str:
        """One line an item as CSV: its number, name and label where known, nats and bits per dimension."""
        columns: dict[str, list[Any]] = {"item": list(range(len(data)))}
        if len(data.names):
            columns["name"] = list(data.names)
        if data.labels is not None:
            columns["label"] = [data.classes[label] for label in data.labels]
        if self.log_prob is not None:
            columns |= {"log_prob": self.log_prob.tolist(), "bits_per_dim": self.bits(self.log_prob).tolist()}
        columns |= {name: nats.tolist() for name, nats in self.more.items()}
        if self.bound is not None:
            columns |= {"bound": self.bound.tolist(), "bound_bits_per_dim": self.bits(self.bound).tolist()}
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return file.getvalue()


def score(
    model: Model,
    data: Dataset,
    *,
    bound: bool = False,
    given: bool | Sequence[str] = False,
    told: Mapping[str, Any] = MappingProxyType({}),
    tolerance: float = 1e-4,
    probes: int = 1,
    draws: int = 1,
    start: float = 1.0,
    seed: int = 0,
    density: Advance = lambda done, total: None,
    bounding: Advance = lambda done, total: None,
) -> Scores:
    """log p of each item. bound: the variational bound as well, which is all there is of tokens. given: p(item given
    its own conditions) of these names, true: all that the data have; false: p(item). told: conditions that are the same
    for all items, as `Model.sample` takes them. probes: random directions of the trace. draws: of the noise that
    spreads levels over their bins. start: where the ODE ends, below 1 for noise prediction without signal at 1.

    Raises Refused for items of another shape, conditions that the model or the data do not have, labels that are no
    classes of the model, a model that needs a condition that is not given, and integers whose codec has no even levels.
    """
    if data.shape != model.shape:
        raise Refused(f"the run's items have shape {model.shape}, and those of {data.name} have {data.shape}")
    cond, named = _condition(model, data, given, told)
    x = np.asarray(data.x)
    encoded = model.codec.encode(x).to(model.device)
    options: dict[str, Any] = {"seed": seed, "batch": min(MOST, at_once(model)), **cond}
    if not encoded.is_floating_point():
        picked = min(PICKED, max(FEWEST, PICKED * USUAL // encoded[0].numel()))
        terms = likelihood.elbo(model.denoiser, encoded, subset=picked, progress=bounding, **options)
        return Scores(None, None, terms.elements, terms.convention, named, -terms.nats.numpy(), terms)
    decoder = options["decoder"] = _decoder(model, x)
    scale = 0.0 if decoder else model.codec.log_det(model.shape)
    found: Density = likelihood.ode(
        model.denoiser,
        encoded,
        rtol=tolerance,
        atol=tolerance,
        probes=probes,
        draws=draws,
        start=start,
        progress=density,
        **options,
    )
    more: dict[str, np.ndarray] = {} if probes == 1 else {"probe_error": found.probe_error.numpy()}
    if draws > 1:
        more |= {"draw_error": found.draw_error.numpy(), "dequantisation": found.dequantisation.numpy()}
    terms, variance = None, ""
    if bound:
        variance = "exact" if model.variance else OWN.get(getattr(model.denoiser, "variance", ""), "posterior")
        options |= {"variance": variance, "subset": PICKED, "progress": bounding}
        terms = likelihood.elbo(spread(model, model.denoiser), encoded, **options)
    below = None if terms is None else scale - terms.nats.numpy()
    return Scores(
        found.log_prob.numpy() + scale,
        found.probe_error.numpy(),
        found.elements,
        found.convention,
        named,
        below,
        terms,
        variance,
        more,
    )


def evaluate(model: Model, held_out: Dataset, seed: int, bar: Bar) -> Scores:
    """Both numbers for up to ITEMS held-out items, given those of their conditions that the model knows."""
    given = not held_out.conditions.keys().isdisjoint(model.conditions)
    few = seen(held_out)
    with bar("likelihood", "item") as density, bar("bound", "call") as bounding:
        return score(model, few, bound=True, given=given, seed=seed, density=density, bounding=bounding)


def seen(held_out: Dataset) -> Dataset:
    """The held-out items that `evaluate` looks at."""
    return held_out.some(max(ITEMS, TOKENS // held_out.shape[0]) if held_out.vocabulary else ITEMS)


def curve(terms: Bound, schedule: Any, parts: int = 25) -> tuple[list[float], list[float]]:
    """log-SNR, rising, and the bound's terms there in bits per dimension, summed over neighbouring steps."""
    levels = schedule.log_snr(terms.times[:-1]).clamp(-20, 20)
    each = terms.steps.mean(0) * (BITS / terms.elements)
    chunks = torch.arange(len(levels)).chunk(parts)
    return [float(levels[c].mean()) for c in chunks], [float(each[c].sum()) for c in chunks]


def _condition(
    model: Model, data: Dataset, given: bool | Sequence[str], told: Mapping[str, Any]
) -> tuple[dict[str, Tensor], str]:
    """What the denoiser is told about each item, and in words."""
    if given is True and not model.conditions:
        raise Refused("the run was trained without conditions: there is nothing to be given")
    if isinstance(given, bool):
        names = [name for name, condition in model.conditions.items() if name in data.conditions or condition.of]
        names = [name for name in names if given and name not in told]
        if given and not names:
            raise Refused(f"{data.name} has none of the run's conditions: {', '.join(model.conditions)}")
    else:
        names = list(given)
    for name in names:
        if name not in model.conditions:
            raise unknown("the run's conditions", name, model.conditions)
        if name in told:
            raise Refused(f"{name!r} is given twice")
    data = derived(data, {name: model.conditions[name] for name in names if name not in data.conditions})
    own = {name: _own(model, data, name) for name in names}
    for name, condition in model.conditions.items():
        if condition.drop == 0 and name not in own and told.get(name) is None:
            raise Refused(
                f"the run needs {name!r} (conditions.{name}.drop = 0): score data that have one with --given {name}, "
                f"or give one to all items with --condition {name}=VALUE"
            )
    return requested(model, len(data), {**told, **own}), " and ".join([*own, *told])


def _own(model: Model, data: Dataset, name: str) -> Any:
    """The items' own values of a condition; raises Refused where there are none, or other classes than the model's."""
    if name == LABEL and (data.labels is None or not set(data.classes) <= set(model.classes)):
        raise Refused(f"{data.name} has no labels of the run's classes: {', '.join(model.classes[:12])}")
    if name not in data.conditions:
        raise Refused(f"{data.name} has no {name!r}; its conditions: {', '.join(data.conditions) or 'none'}")
    return [data.classes[label] for label in data.conditions[LABEL]] if name == LABEL else data.conditions[name]


def _decoder(model: Model, x: np.ndarray) -> Decoder | None:
    """The levels of integers in the codec's units; none for other numbers."""
    if not np.issubdtype(x.dtype, np.integer):
        return None
    limits = np.iinfo(x.dtype)
    low, high = (model.codec.encode(np.full((1, *x.shape[1:]), end, x.dtype)) for end in (limits.min, limits.max))
    if not (bool((low == low.flatten()[0]).all()) and bool((high == high.flatten()[0]).all())):
        raise Refused("the codec scales channels differently, so that integers have no even levels; pixels does not")
    return Decoder(float(low.flatten()[0]), float(high.flatten()[0]), int(limits.max) - int(limits.min) + 1)


def lines(summary: dict[str, Any]) -> list[str]:
    """The summary for people, one number a line."""
    titles = {"ode": "negative log-likelihood, ODE", "bound": "negative log-likelihood, bound"}
    what = summary["convention"] + (f" given the {summary['given']}" if summary["given"] else "")
    said = f"({what}, {summary['items']:,} items)"
    found = [(title, summary[name]) for name, title in titles.items() if name in summary]
    if TOKENS_OF in summary["convention"]:
        bounds = [f"{title}: {_of_tokens(number, summary['elements'])} {said}" for title, number in found]
        return [*bounds, *(spelled.lines(summary["text"]) if "text" in summary else [])]
    told = [f"{title}: {_with_error(number, 1, 4)} bits per dimension {said}" for title, number in found]
    if "dequantisation" in summary:
        cost = summary["dequantisation"]
        told.append(f"of these, spreading levels over their bins costs {cost:.4f} or more (as far as the draws see)")
    return told


def _of_tokens(number: dict[str, Any], elements: int) -> str:
    nats = number["bits_per_dim"] * elements / BITS
    whole = _with_error(number, elements, 4)
    return f"{whole} bits a sequence, {nats:.4f} nats, {number['bits_per_dim']:.5f} bits per token"


def _with_error(number: dict[str, Any], times: int, digits: int) -> str:
    error = number["standard_error"]
    return f"{number['bits_per_dim'] * times:.{digits}f}" + ("" if error is None else f" +- {error * times:.{digits}f}")
