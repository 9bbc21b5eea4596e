"""A resumed run is the uninterrupted run, bit for bit, however it was stopped."""

import json
import os
import signal
from itertools import islice
from pathlib import Path
from threading import Event, Thread

import pytest
import tiny_run as tiny
import torch

from undiffuse.core.errors import Refused
from undiffuse.training import checkpoint
from undiffuse.training.start import train


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert [numbers["step"] for numbers in train(tiny.TABLES, out=run)] == list(range(1, 13))
    return run


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The first two of them; the second one is of weights that the first step changed."""
    training = train(tiny.TABLES, out=tmp_path_factory.mktemp("first") / "run")
    return [next(training)["loss"], next(training)["loss"]]


def test_stopped_and_resumed_equals_uninterrupted(whole: Path, tmp_path: Path):
    """Stopped twice: between two lines of the log and in the first epoch, and on a line and in the second."""
    before = signal.getsignal(signal.SIGTERM)
    for start, stop in ((0, 5), (5, 10)):
        training = train(tiny.TABLES, out=tmp_path / "run", resume=start > 0)
        assert training.step == start
        for numbers in training:
            if numbers["step"] == stop:
                os.kill(os.getpid(), signal.SIGTERM)
        assert training.stopped == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is before
    last = train(tiny.TABLES, out=tmp_path / "run", resume=True)
    assert len(list(last)) == 2
    tiny.same(whole, tmp_path / "run")


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    settings = ["train.checkpoint_every=3"]
    for _ in islice(train(tiny.TABLES, out=run, overrides=settings), 8):
        pass  # and then nothing more is written: steps 7 and 8 are lost, their line in the log is cut off
    assert tiny.metrics(run)[-1]["step"] == 8
    (run / "checkpoints" / ".partial-1-00000009").mkdir()
    resumed = train(run, resume=True)
    assert resumed.step == 6
    resumed.run(progress=False)
    tiny.same(whole, run)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["00000009", "00000012"]


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_ended_before_its_first_checkpoint_starts_again(
    whole: Path, losses: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture, resume: bool
):
    """By another one in its folder or by --resume, with the same settings or others, and nothing of it is left."""
    run = tmp_path / "run"
    next(train(tiny.TABLES, out=run, overrides=["train.preview_every=1", "train.lr=0.5"]))
    assert (run / "previews" / "step_000001.png").exists()
    again = train(tiny.TABLES, out=run, resume=resume)
    assert again.step == 0
    assert ("run has no checkpoint to go on from: the training starts at step 0" in caplog.text) == resume
    assert [next(again)["loss"], next(again)["loss"]] == losses
    assert not (run / "previews").exists()
    assert len(list((run / "tensorboard").iterdir())) == 1
    if resume:
        again.run(progress=False)
        tiny.same(whole, run)


def test_to_resume_where_there_is_no_run_starts_one(
    losses: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    training = train(tiny.TABLES, out=tmp_path / "run", resume=True)
    assert "run has no checkpoint to go on from: the training starts at step 0" in caplog.text
    assert [next(training)["loss"], next(training)["loss"]] == losses


def test_a_learning_rate_that_jumps_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    short = {**tiny.TABLES, "train": {**tiny.TABLES["train"], "steps": 8, "validate_every": 0, "snapshots": 0}}
    train(short, out=tmp_path / "run").run(progress=False)
    train(tmp_path / "run", resume=True).run(progress=False)
    assert "jumps" not in caplog.text
    longer = train(tmp_path / "run", resume=True, overrides=["train.steps=20"])
    rates = [numbers["lr"] for numbers in longer]
    assert "train.steps = 20 in place of 8 the cosine decay is stretched: the learning rate jumps from " in caplog.text
    assert caplog.text.rstrip().endswith(f" at step 8 to {rates[0]:.3g}")


def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """It comes from outside, at any moment of a step. Ctrl-C and the exit status are tried with the command."""
    run, training, fourth = tmp_path / "run", train(tiny.TABLES, out=tmp_path / "run"), Event()

    def stop() -> None:
        fourth.wait(120)
        os.kill(os.getpid(), signal.SIGTERM)

    thread, before = Thread(target=stop), signal.signal(signal.SIGTERM, signal.SIG_IGN)  # should it come too late
    thread.start()
    for numbers in training:
        if numbers["step"] == 4:
            fourth.set()
        elif numbers["step"] == 6:
            thread.join()
    thread.join()
    signal.signal(signal.SIGTERM, before)
    assert training.stopped == signal.SIGTERM
    reached = int(json.loads((checkpoint.newest(run) / "state.json").read_text())["step"])  # type: ignore[operator]
    assert 4 <= reached < 12
    assert f"stopped and saved at step {reached} of 12; go on with: undiffuse train {run} --resume" in caplog.text
    train(run, resume=True).run(progress=False)
    tiny.same(whole, run)


def test_steps_may_be_raised_and_nothing_else(whole: Path, tmp_path: Path):
    run = tmp_path / "run"
    train({**tiny.TABLES, "train": {**tiny.TABLES["train"], "steps": 2}}, out=run).run(progress=False)
    with pytest.raises(
        Refused,
        match=r"was trained with train.lr = 0.01, and this is train.lr = 0.5: on --resume only these may change",
    ):
        train(run, resume=True, overrides=["train.lr=0.5"])
    with pytest.raises(Refused, match=r"has come to step 2: train.steps may be raised, not lowered to 1"):
        train(run, resume=True, overrides=["train.steps=1"])
    longer = train(run, resume=True, overrides=["train.steps=3"])
    assert [numbers["step"] for numbers in longer] == [3]


def test_an_existing_run_is_not_overwritten_by_mistake(tmp_path: Path):
    first = train(tiny.TABLES, out=tmp_path / "run", overrides=["train.checkpoint_every=1"])
    next(first)
    while first.writing:
        pass
    del first  # as if its process had ended
    with pytest.raises(
        Refused, match=r"already holds a run: continue it with --resume, or choose another folder with --out"
    ):
        train(tiny.TABLES, out=tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(Refused, match=r"other is not empty"):
        train(tiny.TABLES, out=tmp_path / "other")
    with pytest.raises(Refused, match=r"thesis.txt is a file"):
        train(tiny.TABLES, out=tmp_path / "other" / "thesis.txt")
    with pytest.raises(Refused, match=r"other is not empty, and holds no run"):
        train(tiny.TABLES, out=tmp_path / "other", resume=True)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_a_broken_checkpoint_is_refused_by_name(tmp_path: Path):
    run = tmp_path / "run"
    train({**tiny.TABLES, "train": {**tiny.TABLES["train"], "steps": 1}}, out=run).run(progress=False)
    path = checkpoint.newest(run)
    assert path is not None
    held, state = checkpoint.load(path)
    (path / "state.json").unlink()
    with pytest.raises(Refused, match=r"cannot read checkpoint .*state.json"):
        train(run, resume=True)
    checkpoint.save(
        run, 1, {name: value for name, value in held.items() if name != "optimiser.exp_avg.network.leave.bias"}, state
    )
    with pytest.raises(Refused, match=r"lacks 'exp_avg'"):
        train(run, resume=True)
    checkpoint.save(run, 1, {**held, "weights.network.leave.bias": torch.zeros(3)}, state)
    with pytest.raises(Refused, match=r"'network.leave.bias' is \(3,\), the model's is \(1,\)"):
        train(run, resume=True)
    checkpoint.save(run, 1, held, {**state, "step": 2})
    with pytest.raises(Refused, match=r"mixes the steps 1 and 2"):
        train(run, resume=True)
