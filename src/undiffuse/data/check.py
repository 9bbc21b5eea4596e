"""What a person wants to know of data before training on it, and what training would refuse."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import join
from typing import Any

import numpy as np
import torch

from undiffuse.codecs.codec import fitted
from undiffuse.codecs.whiten import moments
from undiffuse.core import registry
from undiffuse.core.errors import Refused, some
from undiffuse.data.dataset import Dataset
from undiffuse.data.decoded_cache import budget, bytes_
from undiffuse.data.recipe_for import TOKENS, bundled, fitting, misfit
from undiffuse.data.resolve import table
from undiffuse.data.rows import mapped
from undiffuse.data.source import Peek
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules.ncsn_levels import NCSNLevels, ncsn_levels
from undiffuse.storage.notes import CLOUD, SOUND, VIDEO

EXAMPLES = 5
MANY = 2000  # data whose distances a ladder is chosen by: about a second for small images
FLAT = 4  # pixels; an image with such a side is rather a sequence


@dataclass(frozen=True)
class Checked:
    """Facts about data in JSON's types, problems for which training refuses them, and things to know.

    data: the items, if they could be read at all. codec: what training would put between them and the network.
    """

    facts: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    data: Dataset | None = None
    codec: Any = None


def check(path: str, settings: Sequence[str] = ()) -> Checked:
    """Reads all of the data as training would, going on where something is broken.

    settings: `field=value` texts for the data's component. Raises Refused if there is no data, or a setting is wrong.
    """
    fields = table(path)
    asked = Recipe.find("images").with_tables(data=fields).override([_setting(text) for text in settings])["data"]
    source = registry.build("data", asked)
    facts: dict[str, Any] = {"path": path, "source": asked["name"]}
    tolerant = "skip_broken" in fields_of(source)
    try:
        data = (replace(source, skip_broken=True) if tolerant else source).load()
        described = data.describe()
    except Refused as error:
        return Checked(facts, [str(error)])
    problems: list[str] = []
    warnings: list[str] = []
    facts |= {"kind": data.kind, **described}
    broken = described.get("broken")
    if broken:
        said = ", ".join(f"{name} ({why})" for name, why in broken["examples"].items())
        text = f"{broken['count']:,} broken: {said}".rstrip(": ")
        if asked.get("skip_broken"):
            warnings.append(f"{text}; left out")
        else:
            problems.append(f"{text}; `train --skip-broken` goes on without them")
    warnings += described.get("remarks", [])
    facts["channels"] = [] if data.vocabulary else _channels(data)
    facts["duplicates"] = _duplicates(data)
    _labels(data, warnings)
    flat = [channel["name"] for channel in facts["channels"] if channel["low"] == channel["high"]]
    if flat:
        facts["constant"] = flat
        warnings.append(
            f"constant {'columns' if data.kind == 'points' else 'channels'}, which teach nothing: "
            f"{some(flat, EXAMPLES)}"
        )
    if twice := facts["duplicates"]["items"]:
        said = "1 item is an exact copy" if twice == 1 else f"{twice:,} items are exact copies"
        warnings.append(f"{said} of another; copies stay on the same side of the split")
    if data.kind == "images" and min(data.shape[1:]) <= FLAT and "axes" in fields_of(source) and not asked.get("axes"):
        warnings.append(
            f"read as images of {data.shape[1]} x {data.shape[2]}; if they are sequences: --set data.axes=NCL"
        )
    facts["storage"] = _storage(data)
    facts["training"], codec = _training(path, asked, settings, data, problems)
    return Checked(facts, problems, warnings, data, codec)


def noise_ladder(checked: Checked) -> NCSNLevels:
    """NCSNv2's ladder for the data in the numbers that the network would see; of more than 2,000 for a part.

    Raises Refused for data that could not be read, that are tokens, or that have no distance of 0.01 between them.
    """
    if checked.data is None or checked.data.vocabulary:
        raise Refused(f"a ladder of noise is for values that can be read: {checked.facts['path']} has none")
    x = checked.codec.encode(np.asarray(checked.data.some(MANY).x))
    return ncsn_levels(torch.as_tensor(x))


def fields_of(source: Any) -> Sequence[str]:
    """The names of a component's fields."""
    return list(registry.fields(type(source)))


def _training(
    path: str, asked: dict[str, Any], settings: Sequence[str], data: Dataset, problems: list[str]
) -> tuple[dict[str, Any], Any]:
    """What `undiffuse train` would do with the data: the recipe, the split, the codec, and the line to type; and the
    codec itself.
    """
    heard = (SOUND in data.notes, CLOUD in data.notes, VIDEO in data.notes)
    labelled, kinds = data.labels is not None, (data.vocabulary, data.categories, data.spelling, *heard)
    seen = Peek(data.shape, labelled, *map(bool, kinds))
    chosen = fitting(path, asked, seen)
    sets = [_setting(text) for text in settings]
    if wrong := misfit(chosen, data.shape):
        problems.append(wrong)
        sets += wrong.rpartition("--set ")[2].split()
    share = build.training(chosen).held_out
    facts: dict[str, Any] = {"recipe": bundled(seen)}
    try:
        train, held_out = data.split(share)
        facts["split"] = {"share": share, "train": len(train), "held_out": len(held_out)}
    except Refused as error:
        problems.append(str(error))
        train = data
    known = {"vocabulary": data.vocabulary, "categories": data.categories, **data.spelling}
    codec: Any = fitted(chosen["codec"], train.x, **known)
    facts["codec"] = {"name": chosen["codec"]["name"]}
    if codec.low is not None:
        facts["codec"] |= {"low": codec.low, "high": codec.high}
    words = ["undiffuse", "train", path]
    if path in registry.names("data"):
        words = ["undiffuse", "train", facts["recipe"], "--data", path]
        sets += [f"codec.name={TOKENS}"] if seen.tokens and not seen.spelled else []
    facts["command"] = join([*words, *(["--set", *sets] if sets else []), "--out", f"runs/{chosen.name}"])
    return facts, codec


def _channels(data: Dataset) -> list[dict[str, Any]]:
    """Mean, deviation and range of each channel or column of numbers."""
    mean, std, low, high = moments(data.x)
    names = data.columns or [f"{'column' if data.kind == 'points' else 'channel'} {i}" for i in range(len(mean))]
    rows = zip(names, *(values.tolist() for values in (mean, std, low, high)), strict=True)
    found = [{"name": name, "mean": m, "std": s, "low": a, "high": b} for name, m, s, a, b in rows]
    return [each for each, names in zip(found, data.categories or ((),) * len(found), strict=True) if not names]


def _duplicates(data: Dataset) -> dict[str, Any]:
    """Groups of items that are equal in every byte: how many, how many items too many, and the first groups' names."""
    hashes = data.survey().hashes
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.append(starts, len(ordered)))
    groups = np.flatnonzero(sizes > 1)
    first = sorted(groups.tolist(), key=lambda g: int(order[starts[g]]))[:EXAMPLES] if len(groups) < 10**6 else []
    examples = [[_name(data, int(i)) for i in order[starts[g] : starts[g] + min(3, sizes[g])]] for g in first]
    return {"groups": len(groups), "items": int((sizes[groups] - 1).sum()), "examples": examples}


def _labels(data: Dataset, warnings: list[str]) -> None:
    if data.labels is None:
        return
    counts = np.bincount(data.labels, minlength=len(data.classes))
    if empty := data.notes.get("classes_without_items"):
        warnings.append(f"classes without an item are left out: {some(empty, EXAMPLES)}")
    if counts.min() * 100 < counts.max():
        rare = data.classes[int(counts.argmin())]
        warnings.append(f"class {rare!r} has less than a hundredth of the items of the largest")


def _storage(data: Dataset) -> dict[str, Any]:
    on_disk = mapped(data.x)
    size = data.x.size * data.x.dtype.itemsize
    where = "stays on the disk, read as it is needed" if on_disk else "fits the memory"
    return {"bytes": size, "mapped": on_disk, "said": f"{bytes_(size)}, {where}", "memory_budget": budget()}


def _name(data: Dataset, i: int) -> str:
    return data.names[i] if len(data.names) == len(data) else str(i)


def _setting(text: str) -> str:
    """`size=32` and `data.size=32` mean the same."""
    return text if text.startswith("data.") else f"data.{text}"


def contact_name(path: str) -> str:
    """The contact sheet's file name for the data at a path."""
    return f"{Path(path.rstrip('/')).name.partition('.')[0] or 'data'}-contact.png"
