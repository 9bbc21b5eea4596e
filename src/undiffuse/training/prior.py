"""Prior preservation: samples of the run that is fine-tuned, among the data that it is fine-tuned on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from undiffuse.conditions.label import class_numbers
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, gather, place
from undiffuse.data.made_once import made_once
from undiffuse.networks.lora import fingerprint
from undiffuse.progress import progress_bar
from undiffuse.recipes.starting import Prior


def joined(data: Dataset, base: Any, prior: Prior) -> Dataset:
    """The data, repeated, and samples of the base, which are a share of all items: an epoch sees each of these once.

    Batches are dealt from the permutation of an epoch, so that each holds that share on average.
    Raises Refused for a run that draws nothing, for conditions that are left open, and for samples of another shape.
    """
    if not base.draws:
        raise Refused(f"init.prior needs samples of init.run, which holds {base.what} and draws none")
    told = _values(base, prior)
    if missing := [name for name in data.conditions if name in base.conditions and name not in told]:
        raise Refused(
            f"init.prior.conditions says nothing of {missing[0]!r}, which the data have: give a value, or several in "
            f'turn, as init.prior.conditions = {{ {missing[0]} = ["...", "..."] }}'
        )
    x = np.asarray(_drawn(base, prior, told))
    if x.shape[1:] != tuple(data.shape) or x.dtype != data.x.dtype:
        raise Refused(
            f"the samples of init.run are {x.shape[1:]} of {x.dtype}, and {data.name} has items of {tuple(data.shape)} "
            f"of {data.x.dtype}: bring these to the same"
        )
    rows = max(1, round(prior.count * (1 - prior.share) / prior.share))
    own = data.take(np.arange(rows) % len(data))
    beside = {name: _as_data(base, name, told[name], values) for name, values in own.conditions.items() if name in told}
    conditions = {name: np.concatenate([own.conditions[name], values]) for name, values in beside.items()}
    return replace(own, x=np.concatenate([np.asarray(own.x), x]), conditions=conditions, known=None)


def _values(base: Any, prior: Prior) -> dict[str, list[Any]]:
    """What each sample is of, by condition; raises Refused for a condition that the base does not have."""
    for name in prior.conditions:
        if name not in base.conditions:
            there = ", ".join(base.conditions) or "none"
            raise Refused(f"init.prior.conditions: init.run has no condition {name!r}; it has {there}")
    listed = {name: given if isinstance(given, list | tuple) else [given] for name, given in prior.conditions.items()}
    return {name: [given[i % len(given)] for i in range(prior.count)] for name, given in listed.items()}


def _drawn(base: Any, prior: Prior, told: Mapping[str, Any]) -> Any:
    """The samples, (count, *shape): drawn once, behind a bar, and kept under UNDIFFUSE_CACHE."""
    asked = (prior.count, prior.seed, sorted(told.items()), sorted(base.recipe["sampler"].items()))
    there = place(("prior", fingerprint(base.module), asked), [])

    def made() -> Decoded:
        with progress_bar(total=prior.count, desc="samples of the base", unit="sample", leave=False) as bar:
            drawn = base.sample(
                prior.count,
                seed=prior.seed,
                conditions=told,
                progress=lambda done, total: bar.update(prior.count * done // total - bar.n),
            ).numpy()
        return gather(there, [drawn], len(drawn), Decoded(np.empty(0)))

    return made_once(there, made, "drawn items")


def _as_data(base: Any, name: str, values: list[Any], like: np.ndarray) -> np.ndarray:
    """Values of a condition as data have them."""
    if base.conditions[name].counts_classes:
        return np.array(class_numbers(values, len(values), base.classes, name), like.dtype)
    found = np.asarray(values)
    return found if found.dtype.kind == like.dtype.kind == "U" else found.astype(like.dtype)
