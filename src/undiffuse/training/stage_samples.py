"""Conditions that are samples of another run: a later stage of a chain learns from what the earlier one makes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import Decoded, gather, place
from undiffuse.data.made_once import made_once
from undiffuse.editing.sdedit import vary_each
from undiffuse.models.load import digest, editable
from undiffuse.progress import progress_bar
from undiffuse.sampling.plan import at_once
from undiffuse.sampling.request import SampleRequest


def with_samples(data: Dataset, conditions: Mapping[str, ConditionKind]) -> Dataset:
    """The data with the pictures of conditions that name a run as that run varies them, see `ImageCondition`.

    Each is drawn from the item's own picture, by noise and the way back (arXiv:2108.01073), with the item's other
    conditions: so it has the run's faults, and still belongs to the item. They are drawn once and kept under
    UNDIFFUSE_CACHE.
    Raises Refused where there is no run that can vary pictures, and, with both shapes, for one of others.
    """
    for name, condition in conditions.items():
        if condition.variation:
            made = _drawn(data, name, *condition.variation)
            data = replace(data, conditions={**data.conditions, name: made}, known=None)
    return data


def paths(conditions: Mapping[str, ConditionKind]) -> dict[str, str]:
    """The folders of the runs that conditions name so, by the fields of the recipe."""
    return {f"conditions.{name}.varied_by": each.variation[0] for name, each in conditions.items() if each.variation}


def _drawn(data: Dataset, name: str, path: str, strength: float) -> np.ndarray:
    said = f"conditions.{name}.varied_by = {path!r}"
    try:
        run, file = editable(path), digest(path)
    except Refused as error:
        raise Refused(f"{said}: {error}") from None
    own = np.asarray(data.conditions[name])
    if own.shape[1:] != run.data_shape:
        raise Refused(
            f"{said} makes samples of shape {run.data_shape}, and {name!r} of the data is of shape {own.shape[1:]}"
        )
    beside = {
        each: np.asarray(data.conditions[each]) for each in run.conditions if each != name and each in data.conditions
    }
    content = blake2b(digest_size=16)
    for values in (own, *beside.values()):
        content.update(np.ascontiguousarray(values).data if values.dtype.kind in "uif" else repr([*values]).encode())
    there = place(("stage", file, strength, sorted(beside), content.hexdigest()), [])

    def made() -> Decoded:
        return gather(there, _blocks(run, own, beside, strength, name), len(own), Decoded(np.empty(0)))

    return np.asarray(made_once(there, made, "samples"))


def _blocks(
    run: Any, own: np.ndarray, beside: Mapping[str, np.ndarray], strength: float, name: str
) -> Iterator[np.ndarray]:
    """The pictures as the run varies them, a few at a time, behind a bar."""
    size = min(len(own), at_once(run))
    with progress_bar(total=len(own), desc=f"samples for {name}", unit="sample", leave=False) as bar:
        for start in range(0, len(own), size):
            rows = slice(start, start + size)
            told = {each: run.conditions[each].from_items(values[rows], run.classes) for each, values in beside.items()}
            which = tuple(range(start, start + len(own[rows])))
            yield vary_each(run, own[rows], strength, SampleRequest(indices=which, conditions=told)).numpy()
            bar.update(len(which))
