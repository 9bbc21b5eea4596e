"""Log-likelihoods of data under a run: log-densities and bounds of each item, in the data's own units."""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse import likelihood
from undiffuse.codecs.level_grid import levels
from undiffuse.conditions.from_data import completed
from undiffuse.conditions.given import requested
from undiffuse.core.distribution.bins import Bins
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused, unknown
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import derived
from undiffuse.evaluation.latent_bound import latent_bound
from undiffuse.evaluation.scores import BITS, Scores
from undiffuse.evaluation.scores import lines as lines
from undiffuse.likelihood import Bound, Density
from undiffuse.progress import Advance
from undiffuse.sampling.classifier_guidance import LABEL
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.guidance import spread
from undiffuse.sampling.items import alike
from undiffuse.sampling.plan import at_once

LOGGER = logging.getLogger(__name__)
BOUNDED = (
    "guesses are kept within bounds, which puts all chance of black and white onto one number each: a density of "
    "levels is low there; for likelihoods train with --set denoiser.bounded=false"
)
PICKED = 100  # steps of the bound that each item looks at, of tokens if they are no more than USUAL; else fewer
USUAL, FEWEST = 20, 10
MOST = 512  # items at once
ITEMS = 64  # that `undiffuse evaluate` looks at; of tokens, which have a bound only, so many that there are TOKENS
TOKENS, ROWS = 2**16, 1000  # and of tables with categories so many rows

Bar = Callable[[str, str], Any]  # (what is done, its unit) -> a bar that is conditions (done, total)


def score(
    model: DenoisingGenerator,
    data: Dataset,
    *,
    bound: bool = False,
    given: bool | Sequence[str] = False,
    conditions: Mapping[str, Any] = MappingProxyType({}),
    tolerance: float = 1e-4,
    probes: int = 1,
    draws: int = 1,
    start: float = 1.0,
    seed: int = 0,
    density: Advance = lambda done, total: None,
    bounding: Advance = lambda done, total: None,
) -> Scores:
    """log p of each item. bound: the variational bound as well, which is all there is of tokens, of rows with
    categories and of latents. given: p(item given its own conditions) of these names, true: all that the data have;
    false: p(item).
    conditions: those that are the same for all items, as `Generator.sample` takes them. probes: random directions of
    the trace. draws: of the noise that spreads levels over their bins. start: where the ODE ends, below 1 for noise
    prediction without signal at 1.

    Raises Refused for items of another shape, conditions that the model or the data do not have, labels that are no
    classes of the model, a model that needs a condition that is not given, and integers whose codec has no even levels.
    """
    refuse_unlike(model, data)
    cond, named = condition(model, data, given, conditions)
    x = np.asarray(data.x)
    if why := model.codec.no_density():
        raise Refused(why)
    if model.codec.lossy:
        return latent_bound(model, x, cond, named, subset=PICKED, draws=draws, seed=seed, progress=bounding)
    encoded = model.codec.encode(x, **model.codec.told(cond)).to(model.device)
    options: dict[str, Any] = {"seed": seed, "batch": min(MOST, at_once(model)), **cond}
    codec: Any = model.codec
    if not encoded.is_floating_point() or codec.mixed:
        picked = min(PICKED, max(FEWEST, PICKED * USUAL // encoded[0].numel()))
        denoiser: Any = model.denoiser
        embedded = denoiser.embeddings is not None
        bounded, x_0 = (likelihood.embedded, encoded) if embedded else (likelihood.elbo, denoiser.state_of(encoded))
        options |= {"decoder": _bins(codec, encoded)} if codec.mixed else {}
        terms = bounded(denoiser, x_0, subset=picked, progress=bounding, **options)
        alone = _alone(codec, encoded) if codec.mixed else None
        return Scores(None, None, terms.elements, terms.convention, named, -terms.nats.numpy(), terms, alone=alone)
    decoder = options["decoder"] = levels(model.codec, x.dtype, x.shape[1:])
    scale = 0.0 if decoder else model.codec.log_det(model.shape)
    asked = model.denoiser.predictor
    if asked is not None and asked.head.unbounded is not asked.head:
        LOGGER.warning("%s", BOUNDED)
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
        variance = "exact" if model.variance else model.denoiser.bound_variance
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


def evaluate(model: DenoisingGenerator, held_out: Dataset, seed: int, bar: Bar) -> Scores:
    """The log-density and the bound of up to ITEMS held-out items, given their conditions that the model takes."""
    given = not held_out.conditions.keys().isdisjoint(model.conditions)
    few = seen(held_out)
    with bar("likelihood", "item") as density, bar("bound", "call") as bounding:
        return score(model, few, bound=True, given=given, seed=seed, density=density, bounding=bounding)


def seen(held_out: Dataset) -> Dataset:
    """The held-out items that `evaluate` looks at."""
    if held_out.categories:
        return held_out.some(ROWS)
    return held_out.some(max(ITEMS, TOKENS // held_out.shape[0]) if held_out.vocabulary else ITEMS)


def curve(terms: Bound, schedule: Any, parts: int = 25) -> tuple[list[float], list[float]]:
    """log-SNR, rising, and the bound's terms there in bits per dimension, summed over neighbouring steps."""
    levels = schedule.log_snr(terms.times[:-1]).clamp(-20, 20)
    each = terms.steps.mean(0) * (BITS / terms.elements)
    chunks = torch.arange(len(levels)).chunk(parts)
    return [float(levels[c].mean()) for c in chunks], [float(each[c].sum()) for c in chunks]


def refuse_unlike(model: Generator, data: Dataset) -> None:
    """Raises Refused, with both shapes, for items of another shape than the run's, and for those of another dtype."""
    if data.shape != model.data_shape:
        raise Refused(f"the run's items have shape {model.data_shape}, and those of {data.name} have {data.shape}")
    alike(data.x.dtype, model.codec, data.name)


def condition(
    model: Generator, data: Dataset, given: bool | Sequence[str], conditions: Mapping[str, Any]
) -> tuple[dict[str, Tensor], str]:
    """The conditions of each item as the denoiser takes them, and a description."""
    if given is True and not model.conditions:
        raise Refused("the run was trained without conditions: there is nothing to be given")
    if isinstance(given, bool):
        names = [name for name, each in model.conditions.items() if name in data.conditions or each.derivation(name)]
        names = [name for name in names if given and name not in conditions]
        if given and not names:
            raise Refused(f"{data.name} has none of the run's conditions: {', '.join(model.conditions)}")
    else:
        names = list(given)
    for name in names:
        if name not in model.conditions:
            raise unknown("the run's conditions", name, model.conditions)
        if name in conditions:
            raise Refused(f"{name!r} is given twice")
    data = derived(data, {name: model.conditions[name] for name in names if name not in data.conditions})
    own = {name: _own(model, data, name) for name in names}
    for name, each in model.conditions.items():
        if each.drop == 0 and name not in own and conditions.get(name) is None:
            raise Refused(
                f"the run needs {name!r} (conditions.{name}.drop = 0): score data that have one with --given {name}, "
                f"or give one to all items with --condition {name}=VALUE"
            )
    cond = requested(model.conditions, len(data), {**conditions, **own}, model.device)
    cond = completed(model.codec, model.conditions, cond)
    return cond, " and ".join([*own, *conditions])


def _bins(codec: Any, encoded: Tensor) -> Bins:
    """The rounding of the numbers in rows, as coarse as that of half of them."""
    low, high = codec.interval(encoded[:, : codec.numbers])
    width = float((high - low).median()) if codec.numbers else 0.0
    return Bins(codec.interval, min(width, 4.0))


def _alone(codec: Any, encoded: Tensor) -> np.ndarray:
    """log p of rows whose columns are independent, each with its own frequencies in the training data, (count,)."""
    numbers = encoded[:, : codec.numbers].double()
    normal = Normal(torch.zeros_like(numbers), 1.0)
    found = Bins(codec.interval).log_prob(numbers, normal)
    for i, shares in enumerate(codec.frequencies):
        found += torch.tensor(shares, dtype=torch.float64).log().to(found)[encoded[:, codec.numbers + i].long()]
    return found.cpu().numpy()


def _own(model: Generator, data: Dataset, name: str) -> Any:
    """The items' own values of a condition; raises Refused where there are none, or other classes than the model's."""
    if name == LABEL and (data.labels is None or not set(data.classes) <= set(model.classes)):
        raise Refused(f"{data.name} has no labels of the run's classes: {', '.join(model.classes[:12])}")
    if name not in data.conditions:
        raise Refused(f"{data.name} has no {name!r}; its conditions: {', '.join(data.conditions) or 'none'}")
    return model.conditions[name].from_items(data.conditions[name], data.classes)
