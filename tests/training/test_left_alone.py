"""Training that can be left alone: kills, full disks, a second process on one folder, full memory, NaN."""

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run as tiny
import torch
from processes import KILLED, processes
from torch import Tensor

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch, Objective
from undiffuse.training import checkpoint, ema_snapshots
from undiffuse.training.background import Background, HostCopies
from undiffuse.training.batches import Dealt
from undiffuse.training.diagnose import Diverged
from undiffuse.training.memory import largest
from undiffuse.training.start import train

BATCH = [
    "train.precision=float32",
    "network.dropout=0.0",
    "train.steps=3",
    "train.snapshots=0",
    "train.validate_every=0",
]


@pytest.mark.slow
def test_killed_at_random_moments_the_end_is_bit_equal(tmp_path_factory: pytest.TempPathFactory):
    """The benchmark itself, with few kills."""
    said = (processes(tmp_path_factory) / KILLED).read_text(encoding="utf-8")
    assert said.endswith("status 0"), said
    assert "bit-equal to the uninterrupted one: 1 of 1" in said


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may become larger, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_an_error_and_the_old_checkpoint_stays(tmp_path: Path):
    run = tmp_path / "run"
    settings = ["train.checkpoint_every=2", "train.log_every=100", "train.validate_every=0", "train.snapshots=0"]
    training = train(tiny.TABLES, out=run, overrides=settings)
    for _ in islice(training, 2):
        pass
    while training.writing:
        pass
    before = undiffuse.load(run)
    with (
        files_up_to(4096),
        pytest.raises(Refused, match=r"cannot write .*model.safetensors.*training stops after step 4.*0000002"),
    ):
        list(training)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["00000002"]
    assert undiffuse.load(run).facts["step"] == before.facts["step"] == 2
    assert train(run, resume=True).step == 2  # and the folder is free again


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path):
    training = train(tiny.TABLES, out=tmp_path / "run", overrides=["train.log_every=1", "train.snapshots=0"])
    next(training)
    with files_up_to(16), pytest.raises(Refused, match=r"cannot write .*metrics.jsonl: File too large"):
        next(training)


def test_a_run_folder_belongs_to_one_process(tmp_path: Path):
    run = tmp_path / "run"
    training = train(tiny.TABLES, out=run, overrides=["train.steps=2"])
    with pytest.raises(Refused, match=r"another process is training in .*run"):
        train(run, resume=True)
    list(training)
    assert train(run, resume=True, overrides=["train.steps=3"]).step == 2


def test_what_was_refused_leaves_nothing_behind(tmp_path: Path):
    run = tmp_path / "run"
    with pytest.raises(Refused, match=r"train\.batch = 32 does not divide into 7 parts"):
        train(tiny.TABLES, out=run, overrides=["train.accumulate=7"])
    assert not run.exists()


def test_other_data_are_refused_on_resume_and_the_same_elsewhere_are_not(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    for name, content in (("here", images), ("there", images), ("other", images[1:])):
        np.savez(tmp_path / f"{name}.npz", images=content)
    own = {**tiny.TABLES, "data": {"name": "file", "path": str(tmp_path / "here.npz")}}
    own["conditions"] = {}
    train(own, out=tmp_path / "run", overrides=["train.steps=1", "train.batch=10"]).run(progress=False)
    longer = ["train.steps=2", f"data.path={tmp_path / 'there.npz'}"]
    assert len(list(train(tmp_path / "run", resume=True, overrides=longer))) == 1
    with pytest.raises(Refused, match=r"the data are not those that .*run was trained on"):
        train(tmp_path / "run", resume=True, overrides=["train.steps=3", f"data.path={tmp_path / 'other.npz'}"])


def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path: Path):
    whole = train(tiny.TABLES, out=tmp_path / "whole", overrides=BATCH)
    parts = train(tiny.TABLES, out=tmp_path / "parts", overrides=[*BATCH, "train.accumulate=4"])
    for one, other in zip(whole, parts, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)


class Losing(Objective):
    """An objective of any function."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def loss(self, model: Any, batch: Batch, random: Any, step: int = 0, player: str = "run") -> Tensor:
        return self.function(model, batch, random, step, player)


def test_where_memory_runs_out_what_fits_is_said(tmp_path: Path):
    training = train(tiny.TABLES, out=tmp_path / "run")
    inner = training.stepper.objective

    def small(module: Any, batch: Batch, *rest: Any) -> Tensor:
        if len(batch) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return inner.loss(module, batch, *rest)

    training.stepper.objective = Losing(small)
    message = "32 does not fit the memory of cpu, and 4 does: give --set train.accumulate=8, .* or --set train.batch=4"
    with pytest.raises(Refused, match=message):
        next(training)
    assert not any(p.grad is not None for p in training.module.parameters())


def test_attempts_at_a_size_end_at_what_cannot_be_halved_and_other_errors_pass():
    def never(size: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    def wrong(size: int) -> None:
        raise RuntimeError("shapes differ")

    assert largest(never, 12, lambda: None) is None
    with pytest.raises(RuntimeError, match="shapes differ"):
        largest(wrong, 12, lambda: None)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("weights", "The weights 'network.* are not numbers any more"),
        ("data", "The data of this batch hold numbers that are infinite or not numbers"),
        ("objective", "Data and weights are finite, so the objective has no value at some noise level"),
    ],
)
def test_a_loss_that_is_no_number_says_why(tmp_path: Path, spoil: str, why: str):
    training = train(
        tiny.TABLES, out=tmp_path / "run", overrides=["train.checkpoint_every=1", "train.precision=float32"]
    )
    next(training)
    if spoil == "weights":
        with torch.no_grad():
            list(training.module.parameters())[-1].fill_(torch.inf)
    elif spoil == "data":
        training.stepper._fetch = lambda step: Dealt(torch.arange(32), torch.full((32, 1, 8, 8), torch.nan))  # type: ignore[assignment]
        training.stepper.encoded = lambda step: torch.full((32, 1, 8, 8), torch.nan)  # type: ignore[method-assign]
    else:
        training.stepper.objective = Losing(lambda *given: torch.full((32,), torch.nan, requires_grad=True))
    with pytest.raises(Diverged, match=rf"at step 2; the last good checkpoint is .*00000001\. {why}"):
        next(training)
    assert checkpoint.newest(tmp_path / "run") is not None


def test_a_gradient_that_is_no_number_stops_before_it_spoils_the_weights(tmp_path: Path):
    training = train(tiny.TABLES, out=tmp_path / "run", overrides=["train.precision=float32"])
    inner = training.stepper.objective

    class Spoiled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
            return grad * torch.nan

    training.stepper.objective = Losing(lambda *given: Spoiled.apply(inner.loss(*given)))
    with pytest.raises(Diverged, match="the gradient is not a number at step 1"):
        next(training)
    assert all(torch.isfinite(p).all() for p in training.module.parameters())


def test_what_fails_in_the_background_is_raised_once_and_the_rest_is_given_up():
    done: list[int] = []
    files = Background()
    files.submit(done.append, 1)
    files.wait()
    files.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.wait()
    files.submit(done.append, 2)
    files.wait()
    files.check()
    assert done == [1, 2]
    assert not files.busy


def test_copies_are_of_their_moment():
    copies, tensor = HostCopies(), torch.tensor([1.0, 2.0])
    held = copies.of({"a": tensor})
    tensor.mul_(10)
    assert held["a"].tolist() == [1.0, 2.0]
    assert copies.of({"a": tensor})["a"].tolist() == [10.0, 20.0]
    assert held["a"].tolist() == [10.0, 20.0]  # the same memory


def test_snapshots_are_spread_over_the_run_and_hold_both_tracks(tmp_path: Path):
    assert [step for step in range(1, 21) if ema_snapshots.due(step, 20, 4)] == [5, 10, 15, 20]
    assert [step for step in range(1, 4) if ema_snapshots.due(step, 3, 8)] == [1, 2, 3]
    assert not any(ema_snapshots.due(step, 20, 0) for step in range(1, 21))
    run = tmp_path / "run"
    train(tiny.TABLES, out=run, overrides=["train.snapshots=3", "train.validate_every=0"]).run(progress=False)
    assert [path.name for path in sorted((run / "ema").iterdir())] == [f"{s:08d}.safetensors" for s in (4, 8, 12)]
    from safetensors.torch import load_file

    last, held = load_file(ema_snapshots.file(run, 12)), tiny.tensors(run)
    names = {name.removeprefix("average.") for name in held if name.startswith("average.")}
    assert last.keys() == {f"{track}.{name}" for track in ema_snapshots.LENGTHS for name in names}
    assert all(torch.equal(last[f"b.{name}"], held[f"average.{name}"]) for name in names)  # one and the same average
    assert all(torch.equal(last[f"a.{name}"], held[f"track.a.{name}"]) for name in names)
    assert not re.search(r"track\.b", " ".join(held))
