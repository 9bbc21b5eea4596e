"""Training and sampling compute in bfloat16 only where that gives what float32 gives."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run as tiny
import torch
from accelerate import Accelerator
from torch import nn

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch, Objective
from undiffuse.networks import precision
from undiffuse.training import checkpoint
from undiffuse.training import precision as chosen
from undiffuse.training.start import train

TABLES = {**tiny.TABLES, "train": {**tiny.TABLES["train"], "precision": "auto"}}
VOLUMES: dict[str, Any] = {
    **TABLES,
    "network": {"name": "unet", "width": 16, "multipliers": [1, 2, 2], "blocks": 1, "attention": []},
    "conditions": {},
    "train": {**TABLES["train"], "steps": 1, "batch": 2, "validate_every": 0, "snapshots": 0, "flip": False},
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that multiplies bfloat16, whatever this one does."""
    for module in (precision, chosen):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: True)


def volumes(path: Path, shape: tuple[int, ...]) -> Path:
    x = np.random.default_rng(0).normal(size=(20, *shape, 1)).cumsum(1).astype(np.float32)
    np.save(path, x)
    return path


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("shape", [(4, 16, 16), (8, 8, 8), (8, 32, 32), (12, 12, 12)])
def test_gradients_of_volumes_are_those_of_float32_to_rounding(tmp_path: Path, shape: tuple[int, ...]):
    path = volumes(tmp_path / "volume.npy", shape)
    data = {"name": "file", "path": str(path), "axes": "NDHWC"}
    training = train(VOLUMES | {"data": data, "codec": {"name": "whiten"}}, out=tmp_path / "run")
    assert [np.isfinite(numbers["grad_norm"]) for numbers in training] == [True]
    step = training.stepper
    found: dict[torch.dtype, list[torch.Tensor]] = {}
    for dtype in (torch.float32, step.dtype or torch.float16):
        step.dtype = dtype
        step.gradient(1)
        found[dtype] = [p.grad.clone() for p in training.module.parameters() if p.grad is not None]
        step.sides[0].optimiser.zero_grad()
    whole = torch.cat([each.flatten() for each in found[torch.float32]]).norm()
    for exact, used in zip(*(found[dtype] for dtype in (torch.float32, step.dtype or torch.float16)), strict=True):
        assert (used - exact).norm() <= 0.1 * max(exact.norm(), 0.05 * whole)


class Wrong(torch.autograd.Function):
    """A layer whose gradient is wrong in bfloat16."""

    spoiled = torch.nan

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.half = x.dtype is torch.bfloat16
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return grad * Wrong.spoiled if ctx.half else grad


class Layers(nn.Module):
    """Two convolutions, the second of which begins at zero and hides the first."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong = wrong
        self.enter, self.leave = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 1, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.enter(x)
        return self.leave(Wrong.apply(h) if self.wrong else h)  # pyright: ignore[reportArgumentType]


class Items:
    """Data of noise."""

    def at(self, step: int, rows: slice) -> Batch:
        return Batch(torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)))


class Ones(Objective):
    """Everything is to be 1."""

    def loss(self, model: Any, batch: Batch, random: Any, step: int = 0, player: str = "run") -> torch.Tensor:
        return (model(batch.x).float() - 1).square().mean((1, 2))


def choose(name: str, module: nn.Module) -> tuple[torch.dtype, str]:
    items: Any = Items()
    return chosen.choose(name, Accelerator(cpu=True), module, Ones(), items)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("spoiled", "said"), [(torch.nan, "without bound"), (3.0, "by 20"), (1e34, "without")])
def test_a_gradient_that_is_wrong_in_bfloat16_is_computed_in_float32(
    monkeypatch: pytest.MonkeyPatch, spoiled: float, said: str
):
    monkeypatch.setattr(Wrong, "spoiled", spoiled)
    torch.manual_seed(0)
    broken, sound = Layers(wrong=True), Layers(wrong=False)
    before, state = {k: v.clone() for k, v in broken.state_dict().items()}, torch.random.get_rng_state()
    dtype, why = choose("auto", broken)
    assert dtype is torch.float32
    assert "in bfloat16 cpu gets the gradient of 'enter." in why
    assert said in why
    assert choose("auto", broken) == (dtype, why)  # every time
    assert choose("bfloat16", broken) == (torch.bfloat16, "train.precision says so")
    dtype, why = choose("auto", sound)
    assert dtype is torch.bfloat16
    assert why.startswith("gradients agree with float32's to ")
    assert all(torch.equal(value, before[name]) for name, value in broken.state_dict().items())
    assert all(p.grad is None for p in broken.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_without_hardware_for_it_and_without_gain_it_is_float32(monkeypatch: pytest.MonkeyPatch):
    for module in (precision, chosen):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: device.type == "meta")
    assert choose("auto", Layers(wrong=False)) == (torch.float32, "no bfloat16, since cpu multiplies it no faster")
    for module in (precision, chosen):
        monkeypatch.setattr(module, "has_bfloat16", lambda device: True)
    dtype, why = choose("auto", nn.Linear(8, 8))
    assert (dtype, why) == (torch.float32, "no bfloat16, since this network would not gain from it")


@pytest.mark.usefixtures("quick")
def test_a_run_goes_on_in_the_precision_that_it_began_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    run, words = tmp_path / "run", ["train.steps=1", "train.validate_every=0", "train.snapshots=0"]
    with caplog.at_level(logging.INFO):
        train(TABLES, out=run, overrides=words).run(progress=False)
    assert "computing in bfloat16: gradients agree with float32's to" in caplog.text
    state = (checkpoint.newest(run) or run) / "state.json"
    assert json.loads(state.read_text())["precision"] == "bfloat16"
    shutil.copytree(run, tmp_path / "other")
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)  # the next machine has none
    with caplog.at_level(logging.INFO):
        train(run, resume=True, overrides=["train.steps=2"]).run(progress=False)
        assert "computing in bfloat16: as before" in caplog.text
        train(tmp_path / "other", resume=True, overrides=["train.steps=2", "train.precision=float32"]).run(
            progress=False
        )
        assert "computing in float32: train.precision says so" in caplog.text
    state.write_text(state.read_text().replace('"bfloat16"', '"float8"'))
    (run / "checkpoints" / "00000002").rename(tmp_path / "newer")
    with pytest.raises(Refused, match="lacks or spoils 'precision'"):
        train(run, resume=True, overrides=["train.steps=3"])


@pytest.mark.usefixtures("quick")
def test_sampling_falls_back_to_float32_where_bfloat16_gives_other_numbers(tmp_path: Path):
    run = tmp_path / "run"
    train(TABLES, out=run, overrides=["train.steps=1", "train.snapshots=0"]).run(progress=False)
    exact = undiffuse.load(run, precision="float32").denoiser.state_dict()
    assert {p.dtype for p in undiffuse.load(run).denoiser.parameters()} == {torch.bfloat16}
    model = undiffuse.load(run, precision="float32")
    network: Any = model.denoiser.network
    network.leave.register_forward_hook(
        lambda layer, given, output: output + 9.0 if given[0].dtype is torch.bfloat16 else output
    )
    kept = model.to("auto").denoiser.state_dict()
    assert all(torch.equal(kept[name], exact[name]) for name in exact)
