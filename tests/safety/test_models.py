"""A model's file is a stranger's: whatever it says, it is loaded whole or refused, and takes no memory before."""

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from strange import bytes_of, rewrite
from torch import nn

import undiffuse
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.label import LabelCondition
from undiffuse.core.errors import Refused
from undiffuse.models.diffusion import Diffusion
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import FILE
from undiffuse.storage import files
from undiffuse.storage.blueprint import blueprint
from undiffuse.storage.tensor_file import HEADER, held

FIRST = "network.enter.weight"
F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def refused(run: Path, message: str) -> None:
    with pytest.raises(Refused, match=message) as error:
        undiffuse.load(run)
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


def test_the_model_itself_is_loaded(saved: Path):
    assert undiffuse.load(saved).sample(3).shape == (3, 2)
    rewrite(saved, lambda header, about: None)
    assert undiffuse.load(saved).facts == {"step": 5, "data": {"name": "moons"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes_of({}, size=HEADER + 1), f"its header claims {HEADER + 1} bytes, and {HEADER} are the most"),
        (bytes_of({}, size=2**63), "its header claims"),
        (bytes_of({}, size=100), "its header has 2 of 100 bytes"),
        (b"", "incomplete or broken"),
        (b"\x80\x04}q\x00.", "incomplete or broken"),
        (bytes_of(b"\xff\xfe"), "incomplete or broken"),
        (bytes_of(b"[" * 50_000), "is broken"),
        (bytes_of(b'{"a": 1, "a": 2}'), "'a' is there twice"),
        (bytes_of({"__metadata__": {"about": "[" * 50_000}}), "is broken"),
        (bytes_of({"__metadata__": {"about": 3}}), "what it says about itself is no text"),
        (bytes_of({"__metadata__": [1]}), "what it says about itself is no text"),
        (bytes_of({"w": 3}), "its header describes no tensor 'w'"),
        (bytes_of({"w": {**F32, "shape": "big"}}, b"0000"), "its header describes no tensor 'w'"),
        (bytes_of({"w": {**F32, "shape": [-1]}}, b"0000"), r"'w' cannot have the shape \[-1\]"),
        (bytes_of({"w": {**F32, "shape": [1.5]}}, b"0000"), r"'w' cannot have the shape \[1.5\]"),
        (bytes_of({"w": {**F32, "shape": [2**40, 2**40]}}, b"0000"), "'w' cannot have the shape"),
        (bytes_of({"w": {**F32, "dtype": "PICKLE"}}, b"0000"), "'w' has the dtype PICKLE; known are F64"),
    ],
)
def test_headers_that_are_broken_or_made_to_harm(saved: Path, content: bytes, message: str):
    (saved / FILE).write_bytes(content)
    refused(saved, message)


@pytest.mark.parametrize(
    ("entry", "data"),
    [
        ({**F32, "data_offsets": [0, 8]}, b"0" * 8),
        ({**F32, "data_offsets": [4, 8]}, b"0" * 8),
        ({**F32, "shape": [2]}, b"0" * 4),
        ({**F32, "data_offsets": [0]}, b"0" * 4),
        (F32, b"0"),
        (F32, b"0" * 40),
    ],
)
def test_tensors_that_lie_elsewhere_than_the_header_says(tmp_path: Path, entry: dict[str, Any], data: bytes):
    (tmp_path / "t").write_bytes(bytes_of({"w": entry}, data))
    with pytest.raises(Refused, match=r"cannot read model .*incomplete or broken"):
        files.read_tensors(tmp_path / "t", "model")


DESCRIPTIONS = [
    ("format", "1", "lacks or spoils 'format'"),
    ("format", True, "lacks or spoils 'format'"),
    ("format", 10**9, "update undiffuse"),
    ("shape", "22", "lacks or spoils 'shape'"),
    ("shape", [], "samples cannot have the shape"),
    ("shape", [2.0], "lacks or spoils 'shape'"),
    ("shape", [True], "lacks or spoils 'shape'"),
    ("shape", [0], "samples cannot have the shape"),
    ("shape", [-2], "samples cannot have the shape"),
    ("shape", [1, 10**9, 10**9], "samples cannot have the shape"),
    ("shape", [1] * 1000, "samples cannot have the shape"),
    ("shape", [10**9], "takes more than"),
    ("shape", [3], rf"'{FIRST}' is \(4, 3\), the model's is \(4, 4\)"),
    ("conditions", {"label": {"classes": 3}}, "classes = 3 does not fit"),
    ("conditions", {"label": {"classes": [1]}}, "classes = .1. does not fit"),
    ("conditions", {"label": {}}, "its condition 'label' has no shape and no classes"),
    ("conditions", {"low": {"kind": "../../evil"}}, "conditions has no '../../evil'"),
    ("conditions", {"low": {"kind": 3}}, "conditions has no '3'"),
    ("conditions", [], "lacks or spoils 'conditions'"),
    ("conditions", {"label": 3}, "conditions.label is a table"),
    ("conditions", {"label": {"drop": 7}}, "from 0 to 1, not 7"),
    ("conditions", {"label": {"dorp": 1}}, "did you mean 'drop'"),
    ("conditions", {"low": {"kind": "image"}}, "its condition 'low' has no shape"),
    ("conditions", {"low": {"kind": "image", "shape": [1, 2**40, 2]}}, "cannot have the shape"),
    ("conditions", {"text": {"kind": "text", "length": 10**9}}, "from 1 to 4096"),
    ("conditions", {"pop": {"kind": "vector", "shape": [2, 2]}}, "cannot have the shape"),
    ("codec", "identity", "lacks or spoils 'codec'"),
    ("codec", {}, "needs a name"),
    ("codec", {"name": "../../evil"}, "codecs has no '../../evil'"),
    ("codec", {"name": "identity", "dtype": "load"}, "its codec decodes to 'load', and data are uint8"),
    ("codec", {"name": "whiten", "mean": [0.0], "std": [0.0]}, "whiten needs as many std as mean"),
    ("recipe", None, "lacks or spoils 'recipe'"),
    ("recipe", {"name": "a", "about": ""}, "lacks or spoils 'tables'"),
    ("recipe", {"name": 3, "about": "", "tables": {}}, "lacks or spoils 'name'"),
    ("recipe", {"name": "../../evil", "about": "", "tables": {}}, "is named as a file could be"),
    ("recipe", {"name": "a", "about": [], "tables": {}}, "lacks or spoils 'about'"),
    ("recipe", {"name": "a", "about": "", "tables": {"network": 3}}, r"write \[network\]"),
    ("recipe", {"name": "a", "about": "", "tables": {}}, "has no table"),
    ("step", "5", "lacks or spoils 'step'"),
    ("data", [], "lacks or spoils 'data'"),
]


@pytest.mark.parametrize(("field", "value", "message"), DESCRIPTIONS)
def test_descriptions_with_wrong_types_and_sizes(saved: Path, field: str, value: Any, message: str):
    rewrite(saved, lambda header, about: about.update({field: value}))
    refused(saved, message)
    if field not in ("step", "data"):
        rewrite(saved, lambda header, about: about.pop(field))
        refused(saved, f"lacks or spoils '{field}'")


def test_millions_of_classes_are_refused_by_the_size_of_the_header_or_of_the_network(saved: Path):
    whole = (saved / FILE).read_bytes()
    rewrite(saved, lambda header, about: about.update(classes=["class number"] * 1_100_000))
    refused(saved, "its header claims .* bytes")
    (saved / FILE).write_bytes(whole)
    rewrite(saved, lambda header, about: about.update(conditions={"label": {"classes": ["a"] * 200_000}}))
    refused(saved, "lacks 'network.label.table.weight'")


def test_a_description_that_could_not_be_read_again_is_not_written(tmp_path: Path):
    with pytest.raises(Refused, match=r"what is said about it takes .* bytes, and 8388608 fit"):
        files.write_tensors(tmp_path / "t", {}, {"classes": ["class"] * 1_000_000})
    assert not list(tmp_path.iterdir())


def memory() -> int:
    """Bytes that this process has ever taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    "network",
    [
        {"name": "mlp", "width": 2**24},
        {"name": "mlp", "width": 2**60},
        {"name": "mlp", "width": 20_000},  # 1.6 GB a layer: it would fit, but is not what the file holds
        {"name": "mlp", "waves": 10**12},
        {"name": "mlp", "depth": 10**9},
        {"name": "convnet", "depth": 10**9},
        {"name": "convnet", "kernel": 10**6 + 1, "dimensions": 3},
        {"name": "unet", "blocks": 10**9, "dimensions": 1},
        {"name": "unet", "multipliers": [1] * 100_000, "dimensions": 2},
        {"name": "unet", "multipliers": [1e18], "attention": [], "dimensions": 2},
        {"name": "unet", "width": 2**40, "dimensions": 2},
    ],
)
def test_a_recipe_s_network_of_terabytes_takes_no_memory(saved: Path, network: dict[str, Any]):
    before = memory()
    rewrite(saved, lambda header, about: about["recipe"]["tables"].update(network=network))
    refused(saved, "network|the model")
    assert memory() - before < 200 * 2**20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, a: h.pop(FIRST), f"lacks '{FIRST}'"),
        (lambda h, a: h.update(more=h[FIRST]), "holds 'more', which the model does not have"),
        (lambda h, a: h[FIRST].update(shape=[3, 4]), rf"'{FIRST}' is \(3, 4\), the model's is \(4, 3\)"),
        (lambda h, a: h[FIRST].update(dtype="I32"), f"'{FIRST}' is int32, the model's is float32"),
        (lambda h, a: h[FIRST].update(dtype="BF16", shape=[4, 6]), f"'{FIRST}' is"),
    ],
)
def test_tensors_that_are_missing_extra_or_of_another_kind(saved: Path, change: Callable[..., Any], message: str):
    rewrite(saved, change)
    refused(saved, message)


def test_a_file_larger_than_its_recipe_s_network_is_not_read(saved: Path):
    """A sparse file: a terabyte by its size, a few bytes on the disk."""

    def grow(header: dict[str, Any], about: dict[str, Any]) -> None:
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        header["huge"] = {"dtype": "U8", "shape": [2**40], "data_offsets": [end, end + 2**40]}

    rewrite(saved, grow)
    os.truncate(saved / FILE, (saved / FILE).stat().st_size + 2**40)
    before = memory()
    refused(saved, "holds 'huge', which the model does not have")
    assert memory() - before < 50 * 2**20
    with held(saved / FILE, "model") as found:
        assert found.nbytes > 2**40
        with pytest.raises(Refused, match="cannot read model"):
            _ = found["huge"]  # more than this process may map, and still no crash


def test_nothing_in_a_folder_is_executed(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files that Python, PyTorch or the registry could take for code lie beside a model; none of them runs."""
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')"
    for name in ("conftest.py", "__init__.py", "sitecustomize.py", "moons.py", "mlp.py", "edm.py", "torch.py"):
        (saved / name).write_text(trap)
    pickled = b"cposix\nsystem\n(S'touch " + str(tmp_path / "sprung").encode() + b"'\ntR."
    for name in ("model.pt", "model.bin", "optimizer.pkl", "model.json"):
        (saved / name).write_bytes(pickled)
    monkeypatch.chdir(saved)
    undiffuse.load(".").sample(2)
    rewrite(saved, lambda header, about: about["codec"].update(name="mlp"))
    refused(saved, "codecs has no 'mlp'")
    (saved / FILE).write_bytes(pickled)
    refused(saved, "incomplete or broken")
    assert not (tmp_path / "sprung").exists()


def test_loading_writes_nothing(saved: Path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in saved.rglob("*")}
    undiffuse.load(saved)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in saved.rglob("*")} == before


def test_a_run_folder_that_is_something_else(saved: Path, tmp_path: Path):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    for name in ("file", "pipe"):
        refused(tmp_path / name, "cannot read model")
    for name in ("loop", "dangling", "gone", "a" * 300, "a\0b"):
        refused(tmp_path / name, "there is no run at")
    (saved / FILE).unlink()
    (saved / FILE).mkdir()
    refused(saved, "cannot read model .*: it is no file")


def test_a_link_to_a_model_is_read_and_a_model_saved_there_replaces_the_link(saved: Path, tmp_path: Path):
    (saved / FILE).rename(tmp_path / "elsewhere.safetensors")
    (saved / FILE).symlink_to(tmp_path / "elsewhere.safetensors")
    before = (tmp_path / "elsewhere.safetensors").read_bytes()
    model = undiffuse.load(saved, precision="float32")
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(1)
    model.save(saved)
    assert not (saved / FILE).is_symlink()
    assert (tmp_path / "elsewhere.safetensors").read_bytes() == before


class Waved(nn.Module):
    """A network with a buffer that it computes and does not save."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("waves", torch.arange(4.0).exp(), persistent=False)
        self.register_buffer("mean", torch.ones(2))


def test_a_blueprint_says_what_there_will_be_and_leaves_everything_as_it_is():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    drawn = blueprint(Waved, "it")
    assert {name: (tuple(t.shape), t.device.type) for name, t in drawn.items()} == {
        "weight": ((3,), "meta"),
        "mean": ((2,), "meta"),
    }
    assert Waved().get_buffer("waves").tolist() == torch.arange(4.0).exp().tolist()
    label = LabelCondition(classes=tuple("0123456789"))
    about = Description(Recipe.find("digits"), (1, 8, 8), {"label": label}, PixelsCodec())
    sketch, real = Diffusion.blueprint(about), Diffusion.build(about).state_dict()
    assert {n: (t.shape, t.dtype) for n, t in sketch.items()} == {n: (t.shape, t.dtype) for n, t in real.items()}
    torch.set_rng_state(state)
    Diffusion.blueprint(about)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("most", "message"),
    [
        ({"tensors": 2}, "it has more than 2 tensors"),
        ({"size": 30}, "it takes more than 2.79e-08 GB"),
    ],
)
def test_a_blueprint_stops_where_there_is_more_than_asked_for(most: dict[str, int], message: str):
    with pytest.raises(Refused, match=message):
        blueprint(Waved, "it", **most)
    assert len(blueprint(Waved, "it", tensors=3, size=36)) == 2


def test_a_network_that_breaks_while_it_is_built_is_refused():
    def broken() -> nn.Module:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(Refused, match="it cannot be built: division by zero"):
        blueprint(broken, "it")


def test_training_a_network_that_no_memory_holds_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"network 'unet' takes more than .* GB"):
        undiffuse.train("digits", out=tmp_path / "run", overrides=["network.width=4000000"])
