"""Weights in the files of others: shards, half precision and pickles give the same tensors; what is lost is named."""

import json
import re
import shlex
from argparse import Namespace
from code import InteractiveInterpreter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from undiffuse.core.errors import Refused
from undiffuse.storage.weight_files import file_weights, folder_weights

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2), "b.weight": torch.full((3,), -1.5)}
STEM = "diffusion_pytorch_model"


def sharded(folder: Path, stem: str = STEM, dot: str = "", index: str = "index") -> None:
    """As diffusers and transformers write a model in two files."""
    names = [f"{stem}{dot}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    place = {name: names[name.startswith("b")] for name in WEIGHTS}
    for file in names:
        save_file({name: WEIGHTS[name] for name in WEIGHTS if place[name] == file}, folder / file, {"format": "pt"})
    (folder / f"{stem}.safetensors.{index}.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))


def same(found: object) -> bool:
    return dict(found).keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)  # type: ignore[call-overload, index]


def test_every_layout_gives_the_same_tensors(tmp_path: Path):
    (paths := {n: tmp_path / n for n in ("one", "shards", "half", "pickle", "clip")})["one"].mkdir()
    for path in paths.values():
        path.mkdir(exist_ok=True)
    save_file(WEIGHTS, paths["one"] / f"{STEM}.safetensors")
    save_file({name: torch.zeros(1) for name in WEIGHTS}, paths["one"] / f"{STEM}.fp16.safetensors")
    sharded(paths["shards"])
    sharded(paths["half"], dot=".fp16", index="index.fp16")
    torch.save(WEIGHTS, paths["pickle"] / f"{STEM}.bin")
    save_file(WEIGHTS, paths["clip"] / "model.safetensors")
    for path in paths.values():
        found = folder_weights(path)
        assert same(found), path
        assert {name: tensor.shape for name, tensor in found.like.items()} == {n: w.shape for n, w in WEIGHTS.items()}
        assert found.nbytes == sum(w.nbytes for w in WEIGHTS.values())


def test_tensors_are_the_file_until_they_are_written_to(tmp_path: Path):
    save_file(WEIGHTS, file := tmp_path / "w.safetensors")
    tensor = file_weights(file)["a.weight"]
    tensor.zero_()
    assert same(load_file(file))
    assert same(file_weights(file))


@pytest.mark.parametrize("nested", ["state_dict", "ema", "model", ""])
def test_checkpoints_of_training_hold_their_weights_inside(tmp_path: Path, nested: str):
    torch.save({nested: WEIGHTS, "global_step": 7} if nested else WEIGHTS, tmp_path / "w.ckpt")
    assert same(file_weights(tmp_path / "w.ckpt"))


def test_pickled_code_is_refused_and_the_advice_works(tmp_path: Path):
    torch.save({"state_dict": WEIGHTS, "callbacks": Namespace(best=1)}, file := tmp_path / "sd.ckpt")
    with pytest.raises(Refused, match=r"sd\.ckpt holds pickled code beside its weights, which is never run") as error:
        file_weights(file)
    command = shlex.split(str(re.findall(r"(python -c .*) makes sd\.safetensors of it", str(error.value))[0]))
    InteractiveInterpreter({}).runcode(compile(command[2], "typed", "exec"))
    assert same(file_weights(file.with_suffix(".safetensors")))


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(Refused, match=r"holds no weights: there is no diffusion_pytorch_model\.safetensors or model"):
        folder_weights(tmp_path)
    with pytest.raises(Refused, match=r"there is no file .*x\.safetensors"):
        file_weights(tmp_path / "x.safetensors")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(Refused, match=r"x\.txt is no file of weights: these end in \.safetensors, \.bin, \.ckpt"):
        file_weights(tmp_path / "x.txt")
    for content in (b"no pickle", b""):
        (tmp_path / "x.ckpt").write_bytes(content)
        with pytest.raises(Refused, match=r"cannot read .*x\.ckpt: it holds no weights"):
            file_weights(tmp_path / "x.ckpt")
    for other in ([WEIGHTS["a.bias"]], {"step": 1}):
        torch.save(other, tmp_path / "x.ckpt")
        with pytest.raises(Refused, match=r"x\.ckpt holds no weights by name"):
            file_weights(tmp_path / "x.ckpt")


def test_shards_that_are_missing_or_do_not_hold_their_share_are_named(tmp_path: Path):
    sharded(tmp_path)
    (lost := tmp_path / f"{STEM}-00002-of-00002.safetensors").unlink()
    with pytest.raises(Refused, match=rf"1 of the 2 files that .* lists are missing in .*: {re.escape(lost.name)}$"):
        folder_weights(tmp_path)
    save_file({"c": torch.zeros(1)}, lost)
    with pytest.raises(Refused, match=rf"{re.escape(lost.name)} holds no 'b\.weight', which {STEM}.*json places"):
        folder_weights(tmp_path)
    (tmp_path / f"{STEM}.safetensors.index.json").write_text('{"weight_map": 3}')
    with pytest.raises(Refused, match="is no index of shards"):
        folder_weights(tmp_path)


def test_a_shard_lies_beside_its_index(tmp_path: Path):
    """An index that points elsewhere reads nothing there."""
    (inside := tmp_path / "model").mkdir()
    save_file({"secret": torch.ones(1)}, tmp_path / "w.safetensors")
    index: dict[str, dict[str, str]] = {"weight_map": {"secret": "../w.safetensors"}}
    (inside / f"{STEM}.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Refused, match=r"are missing in .*model: w\.safetensors"):
        folder_weights(inside)
