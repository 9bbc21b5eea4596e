"""Weights as others save them: one file or shards, whole or half precision, safetensors or pickled tensors."""

import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.storage.tensor_file import Held, StoredTensors, refusing

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")  # of diffusers, and of transformers
SAFE, PICKLED = ".safetensors", (".bin", ".ckpt", ".pt", ".pth")
NESTED = ("state_dict", "ema", "model")  # where checkpoints of training hold their weights


class WeightFiles(StoredTensors):
    """The tensors of one or several files by name, each in its file's dtype and mapped to memory when it is asked for.

    Nothing is copied: a tensor's memory is the file's, until somebody writes to it. like: tensors of their shapes and
    dtypes that take no memory.
    """

    def __init__(self, places: Mapping[str, Path], tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
        self._places, self._tensors, self.like = dict(places), dict(tensors), dict(like)
        self._open: dict[Path, Any] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name in self._tensors:
            return self._tensors[name]
        path = self._places[name]
        with refusing(path, "weights"):
            if path not in self._open:
                self._open[path] = safe_open(path, framework="pt")
            return self._open[path].get_tensor(name)


def folder_weights(folder: Path, stems: Iterable[str] = STEMS) -> WeightFiles:
    """The weights in a model's folder: of whole precision where they are there, else of half precision, else pickled.

    Raises Refused if there are none, if a shard is missing, and for pickled code.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for ending in (SAFE, ".bin"):
        for stem in stems:
            if found := _whole(names, stem, ending) or _half(names, stem, ending):
                return _shards(folder / found) if found.endswith(".json") else file_weights(folder / found)
    wanted = " or ".join(f"{stem}{SAFE}" for stem in stems)
    raise Refused(f"{folder} holds no weights: there is no {wanted}, nor their shards, .fp16 or .bin in their place")


def file_weights(path: Path) -> WeightFiles:
    """The weights in one file, safetensors or pickled tensors; raises Refused for pickled code and for what is none."""
    if not path.is_file():
        raise Refused(f"there is no file {path}")
    if path.suffix == SAFE:
        found = Held(path, "weights")
        found.close()
        return WeightFiles(dict.fromkeys(found, path), {}, found.like)
    if path.suffix not in PICKLED:
        raise Refused(f"{path} is no file of weights: these end in {', '.join((SAFE, *PICKLED))}")
    tensors = _pickled(path)
    return WeightFiles({}, tensors, {name: tensor.to("meta") for name, tensor in tensors.items()})


def _whole(names: list[str], stem: str, ending: str) -> str | None:
    return next((name for name in (stem + ending, f"{stem}{ending}.index.json") if name in names), None)


def _half(names: list[str], stem: str, ending: str) -> str | None:
    return next((name for name in (f"{stem}.fp16{ending}", f"{stem}{ending}.index.fp16.json") if name in names), None)


def _shards(index: Path) -> WeightFiles:
    """The weights in the files that an index lists; raises Refused unless all are there with what they should hold."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {name: index.parent / Path(str(file)).name for name, file in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{index} is no index of shards: {error or type(error).__name__}") from None
    shards = sorted(set(files.values()))
    if missing := [path.name for path in shards if not path.is_file()]:
        raise Refused(
            f"{len(missing)} of the {len(shards)} files that {index} lists are missing in {index.parent}: "
            f"{', '.join(missing)}"
        )
    read = {path: file_weights(path) for path in shards}
    if lost := [name for name, path in files.items() if name not in read[path]]:
        raise Refused(f"{files[lost[0]]} holds no {lost[0]!r}, which {index.name} places there")
    like = {name: read[path].like[name] for name, path in files.items()}
    pickled = {name: read[path][name] for name, path in files.items() if path.suffix != SAFE}
    return WeightFiles(files, pickled, like)


def _pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle by name, those inside `state_dict`, `ema` or `model` where it has such."""
    try:
        held: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" in str(error):  # no pickle at all
            raise Refused(f"cannot read {path}: it holds no weights") from None
        raise Refused(
            f"{path} holds pickled code beside its weights, which is never run here. If you trust whoever made it: "
            f"python -c \"import torch, safetensors.torch as s; w = torch.load('{path}', weights_only=False); "
            "w = w.get('state_dict', w); s.save_file({k: v.contiguous().clone() for k, v in w.items() if "
            f"torch.is_tensor(v)}}, '{path.with_suffix(SAFE)}')\" makes {path.with_suffix(SAFE).name} of it"
        ) from None
    except Exception as error:  # whatever a file of another kind makes of the reader
        raise Refused(f"cannot read {path}: it holds no weights ({str(error).partition(chr(10))[0]})") from None
    for name in NESTED:
        if isinstance(held, dict) and isinstance(held.get(name), Mapping) and held[name]:
            held = held[name]
            break
    tensors = {str(k): v for k, v in held.items() if isinstance(v, Tensor)} if isinstance(held, Mapping) else {}
    if not tensors:
        raise Refused(f"{path} holds no weights by name")
    return tensors
