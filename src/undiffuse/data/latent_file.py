"""A file of latents: which run made them, whether they are normalised, and what a model of them must know of that."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.stored import Member
from undiffuse.sampling.made_by import LATENTS, MADE_BY, MEAN, STD, MadeBy
from undiffuse.storage.files import whole
from undiffuse.storage.strict_json import parse_json

USE = "--set codec.name"
AXES = {2: "NF", 3: "NCL", 4: "NCHW", 5: "NCDHW"}


def write_latents(path: Path, latents: np.ndarray, made: MadeBy, data: Dataset) -> None:
    """Write latents (count, ...) of the items of a data set, whole or not at all, with the items' conditions."""
    arrays = made.arrays()
    for name, values in data.conditions.items():
        if name in (LATENTS, "labels", "classes", *arrays):
            raise Refused(f"a condition called {name!r} has no place beside latents: give it another name")
        arrays["labels" if name == "label" else name] = values
    if data.classes:
        arrays["classes"] = np.array(data.classes)
    with whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, latents=latents, **arrays)  # pyright: ignore[reportArgumentType]


def latent_notes(arrays: Mapping[str, Member], path: str) -> dict[str, Any]:
    """What a data set notes of the latents in a file; nothing of any other file. Raises Refused for what is damaged."""
    if not {LATENTS, MADE_BY} <= arrays.keys():
        return {}
    what = f"{path}: {MADE_BY}"
    said = parse_json(str(arrays[MADE_BY].read()), what)
    found = {name: arrays[name].read().astype(np.float64).ravel().tolist() for name in (MEAN, STD) if name in arrays}
    kinds = {"run": str, "digest": str, "normalised": bool}
    known = said.keys() == kinds.keys() and all(isinstance(said[name], kind) for name, kind in kinds.items())
    numbers = [number for each in found.values() for number in each]
    if not known or len(found) != 2 or len(found[MEAN]) != len(found[STD]) or not all(map(math.isfinite, numbers)):
        raise Refused(f"{what} is damaged, or the statistics {MEAN} and {STD} are: encode the data again")
    return {LATENTS: asdict(MadeBy(**said, mean=tuple(found[MEAN]), std=tuple(found[STD])))}


def latent_axes(arrays: Mapping[str, Member], key: str) -> str:
    """What the axes of the latents in a file are; "" of other arrays."""
    return AXES.get(len(arrays[key].shape), "") if key == LATENTS and MADE_BY in arrays else ""


def refuse_codec(data: Dataset, name: str, flip: Any = False) -> None:
    """Raises Refused where a codec would encode latents once more, or normalise them twice or not at all, and where
    latents would be mirrored.
    """
    made = MadeBy.of(data.notes)
    if made is None:
        return
    codec: Any = registry.get("codecs", name)
    that = f"{data.name} holds latents of {made.run}"
    if flip:
        raise Refused(f"{that}, and mirrored latents are not those of mirrored items: leave train.flip out")
    if codec.lossy:
        raise Refused(f"{that}, and codec {name!r} encodes the data themselves: {USE}=whiten takes latents")
    if made.normalised and (codec.normalises or codec.bounds is not None):
        raise Refused(f"{that} that are normalised already, and codec {name!r} would do it twice: {USE}=identity")
    if not made.normalised and not codec.normalises:
        reach = f"deviations {_some(made.std)}, means {_some(made.mean)}"
        raise Refused(f"{that} that are not normalised ({reach}), nor does codec {name!r} do it: {USE}=whiten")


def _some(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers[:4]) + " ..." * (len(numbers) > 4)
