"""A run with LoRA in its weights: what was trained beside a base, or written by another tool, times a weight."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.lora import LAYERS, LowRank, check, fingerprint, merged
from undiffuse.sampling import lora_file, lora_run
from undiffuse.sampling.run import FILE, LORA, Run
from undiffuse.storage.files import whole
from undiffuse.storage.tensor_file import held

TUNED = ("plans", "variance")  # facts of a run that are for its own weights alone
SHOWN = 4

AnyRun = TypeVar("AnyRun", bound=Run)


def with_lora(run: AnyRun, asked: Mapping[str, float]) -> AnyRun:
    """The run with W + sum of weight (alpha / rank) B A in the place of W, for each LoRA that is asked for.

    asked: weights by path: of a LoRA run, of a folder of PEFT or diffusers, or of a file of them or of kohya. The given
    run stays as it is, and all else is shared with it. Raises Refused, with both sides, for a LoRA of another base.
    """
    updates: dict[str, list[LowRank]] = {}
    for path, weight in asked.items():
        for name, parts in read(run, path).items():
            updates.setdefault(name, []).extend(replace(part, scale=part.scale * weight) for part in parts)
    if not updates:
        return run
    about = replace(run.description, facts={k: v for k, v in run.facts.items() if k not in TUNED})
    return type(run).of(merged(run.module, updates), about)


def read(run: Run, path: str) -> dict[str, list[LowRank]]:
    """What a LoRA adds to layers of a run; raises Refused as `with_lora` does."""
    file = Path(path) / FILE if os.path.isdir(path) else Path(path)
    if not os.path.exists(path):
        raise Refused(f"there is no LoRA at {path or repr(path)}")
    if os.path.isdir(path) and file.exists():
        with held(file, "model") as found:
            if LORA not in found.about:
                raise Refused(
                    f"{path} is a whole run and no LoRA: draw its samples by `undiffuse sample {quote(str(path))}`"
                )
            lora = lora_run.read(found, f"LoRA {path}")
        check(run.module, lora.updates, f"LoRA {path}")
        lora.refuse_other(fingerprint(run.module), "this run")
        return dict(lora.updates)
    if not lora_file.is_file(Path(path)):
        raise Refused(
            f"{path} holds no LoRA: a run of one, {lora_file.CONFIG} with {lora_file.PEFT}, or {lora_file.DIFFUSERS}"
        )
    return _placed(run.module, lora_file.read(Path(path)), f"LoRA {path}")


def export_lora(path: Path, run: Run, folder: Path) -> list[str]:
    """Write the A and B of the LoRA run in a folder as files of PEFT, and of diffusers where it has such a network;
    returns their names. run: the same, loaded. Raises Refused for a run that is no LoRA, and where a folder is.
    """
    _refuse_there(folder)
    with held(path / FILE, "model") as found:
        _refuse_whole(found.about, path)
        lora = lora_run.read(found, f"LoRA {path}")
        alpha = found.about[LORA]["alpha"]
    own = {name: parts[0] for name, parts in lora.updates.items()}
    theirs = dict(_renamed(own, _foreign(run.module)))
    with whole(folder) as temporary:
        return lora_file.write(temporary, own, theirs, alpha)


def export_merged(path: Path, run: Run, folder: Path) -> None:
    """Write what base and LoRA are together as a run of its own. Arguments and errors: as of `export_lora`."""
    _refuse_there(folder)
    with held(path / FILE, "model") as found:
        _refuse_whole(found.about, path)
    run.save(folder)
    run.recipe.save(folder)


def _refuse_there(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} is there already: name a folder that is not, or an empty one")


def _refuse_whole(about: Mapping[str, Any], path: Path) -> None:
    if LORA not in about:
        raise Refused(
            f"{path} is a whole run and no LoRA: train one by "
            f"`undiffuse train {quote(str(path))} --out runs/lora --set {quote(f'init.run={path}')} init.lora.rank=8`"
        )


def _placed(module: nn.Module, layers: Mapping[str, LowRank], what: str) -> dict[str, list[LowRank]]:
    """The products by the names of the module's own layers, and their rows where those are several of the file's."""
    known = _names(module)
    others = {name: known[theirs] for name, theirs in lora_file.original(known).items()}
    by_kohya = {lora_file.kohya(name): place for name, place in {**others, **known}.items()}
    places = {name: known.get(name) or by_kohya.get(name) for name in layers}
    if missing := [name for name, place in places.items() if place is None]:
        some = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
        raise Refused(
            f"{what} is for another base: this run has no layer {some}; it has {', '.join(list(known)[:3])} ..."
        )
    found: dict[str, list[LowRank]] = {}
    for name, part in layers.items():
        place = places[name] or LayerRows("")
        found.setdefault(place.layer, []).append(replace(part, rows=place.rows))
    check(module, found, what)
    return found


class LayerRows(NamedTuple):
    """A layer of the module, the rows of it that another name stands for (None: all), and whether the layer of that
    name is a convolution of 1 x 1 places.
    """

    layer: str
    rows: tuple[int, int] | None = None
    convolves: bool = False


def _names(module: nn.Module) -> dict[str, LayerRows]:
    """Layer and rows by every name that a file may call them by: those of the module and of diffusers."""
    layers = [name for name, layer in module.named_modules() if isinstance(layer, LAYERS)]
    own = {name: LayerRows(name) for name in layers}
    short = {name.partition(".")[2]: LayerRows(name) for name in layers if name.startswith("network.")}
    return {**short, **own, **_foreign(module)}


def _foreign(module: nn.Module) -> dict[str, LayerRows]:
    """Layer and rows by the names that diffusers has for the layers; {} where it has no such network.

    Found by renaming tensors that hold the numbers of their rows.
    """
    found: dict[str, LayerRows] = {}
    for prefix, part in module.named_modules():
        if not issubclass(type(part), Network):
            continue
        network = cast("Network", part)
        starts, marks, rows = {}, dict[str, Tensor](), 0
        for name, tensor in network.state_dict().items():
            if tensor.ndim > 1:
                starts[name] = rows
                marks[name] = torch.arange(rows, rows := rows + len(tensor), dtype=torch.int64)[:, None]
        for theirs, mark in network.in_diffusers(marks).items():
            ids = mark.reshape(len(mark), -1)[:, 0]
            name = next(each for each, start in reversed(starts.items()) if start <= int(ids[0]))
            first = int(ids[0]) - starts[name]
            whole = len(ids) == len(marks[name])
            layer = f"{prefix}.{name}".removeprefix(".").removesuffix(".weight")
            if theirs.endswith(".weight") and torch.equal(ids, torch.arange(len(ids), dtype=torch.int64) + ids[0]):
                rows_of = None if whole else (first, first + len(ids))
                found[theirs.removesuffix(".weight")] = LayerRows(layer, rows_of, mark.ndim > 2)
    return found


def _renamed(own: Mapping[str, LowRank], places: Mapping[str, LayerRows]) -> Iterator[tuple[str, LowRank]]:
    """The products by the names of diffusers; all or none of them."""
    if own.keys() - {place.layer for place in places.values()}:
        return
    for name, (layer, rows, convolves) in places.items():
        if layer in own:
            a, b = own[layer].a, own[layer].b[slice(*(rows or (None,)))]
            pair = (a[..., None, None], b[..., None, None]) if convolves else (a, b)
            yield name, replace(own[layer], a=pair[0], b=pair[1])
