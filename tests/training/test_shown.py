"""What a person sees of a run: lines or a bar, messages on lines of their own, the run in short, and how it stops."""

import io
import logging
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import undiffuse
from undiffuse import progress
from undiffuse.training import checkpoint
from undiffuse.training.diagnose import Diverged
from undiffuse.training.start import train

POINTS: dict[str, Any] = {
    "data": {"name": "moons", "count": 100},
    "codec": {"name": "whiten"},
    "schedule": {"name": "flow"},
    "network": {"name": "mlp", "width": 8, "depth": 1, "waves": 2},
    "parameterization": {"name": "flow"},
    "objective": {"name": "denoising"},
    "sampler": {"steps": 2},
    "train": {
        "steps": 24,
        "batch": 16,
        "snapshots": 0,
        "checkpoint_every": 0,
        "preview_every": 0,
        "validate_every": 12,
        "log_every": 6,
    },
}


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("drawn")
def test_without_a_terminal_there_is_a_line_for_each_line_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    train(POINTS, out=tmp_path / "run", overrides=["train.preview_every=24"]).run()
    said = capsys.readouterr().err
    assert not set(said) & {"\r", "\x1b"}
    steps = [line for line in said.splitlines() if line.startswith("step ")]
    assert [line.split(",")[0] for line in steps] == [f"step {step} of 24" for step in (6, 12, 18, 24)]
    assert re.fullmatch(r"step 12 of 24, loss \S+, validation loss \S+, \S+ items a second, \d.* left", steps[1])
    assert "computing in float32: no bfloat16, since" in said
    pace = rf"\S+ steps a second, \S+ s left, [\d,]+ MB of memory; watch it in {tmp_path}/run/training.html"
    assert [line for line in said.splitlines() if re.fullmatch(pace, line)]
    assert (tmp_path / "run" / "training.html").exists()
    assert len(said.splitlines()) == 6
    assert not logging.getLogger("undiffuse").handlers


def test_on_a_terminal_messages_stand_above_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    training = train(POINTS, out=tmp_path / "run")
    training._validate = lambda averaged, trained: progress.LOGGER.warning("look here") or {}
    training.run()
    said = screen.getvalue()
    assert "training: 100%" in said
    assert said.count("look here\n") == 3  # at the start, at 12 and at 24
    assert all(before in "\r\n" for before in re.findall(r"(.)(?:look here|computing in|\S+ steps a second)", said))
    assert "training.html" not in said  # which is not drawn without previews


def test_nothing_is_said_where_nobody_asked_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    train(POINTS, out=tmp_path / "run").run(progress=False)
    assert capsys.readouterr() == ("", "")


def test_bars_of_other_work_become_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for _ in progress.progress_bar(range(3), desc="reading"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "DELAY", 0.0)
    for leave in (True, False):
        for _ in progress.progress_bar(range(2), desc="reading", leave=leave, mininterval=0):
            pass
    said = capsys.readouterr().err
    assert not set(said) & {"\r", "\x1b"}
    assert "reading: 50%, 1 of 2, 00:00 gone, 00:00 left\n" in said
    assert "\n\n" not in said
    stream = io.StringIO()
    lines = progress.Lines(stream)
    monkeypatch.setattr(progress, "DELAY", 60.0)
    for text in ("\r 10%", "\r 20%", "\r 30%", "\n", "\r 30%", "\n"):  # one at once, none before the next, the last
        lines.write(text)
    assert stream.getvalue() == "10%\n30%\n"


def test_a_persons_own_handler_is_left_to_do_it(capsys: pytest.CaptureFixture[str]):
    own = logging.StreamHandler(sys.stderr)
    progress.LOGGER.addHandler(own)
    try:
        with progress.messages():
            progress.LOGGER.warning("once")
    finally:
        progress.LOGGER.removeHandler(own)
    assert capsys.readouterr().err == "once\n"


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["ctrl-c", "term"]
)
def test_a_stopped_run_is_saved_and_returns_no_half_model(tmp_path: Path, number: int, raised: type[BaseException]):
    run = tmp_path / "my run"
    training = train(POINTS, out=run)

    def validate(averaged: Any, trained: Any) -> dict[str, Any]:
        if training.step == 12:
            signal.raise_signal(number)
        return {}

    training._validate = validate
    with pytest.raises(raised):
        training.run(progress=False)
    assert training.stopped == number
    assert (checkpoint.newest(run) or run).name == "00000012"
    assert train(run, resume=True).run(progress=False).facts["step"] == 24


def test_a_run_is_shown_in_short(tmp_path: Path):
    training = train(POINTS, out=tmp_path / "a<b")
    assert repr(training) == f"<Training: folder {tmp_path}/a<b, step 0 of 24>"
    training.run(progress=False)
    said = r"step 24 of 24, loss \S+, validation loss \S+, trained for \S+ s>"
    assert re.fullmatch(rf"<Training: folder {tmp_path}/a<b, {said}", repr(training))
    assert "<td>24 of 24</td>" in training._repr_html_()
    assert "a&lt;b" in training._repr_html_()


def test_what_to_do_about_lost_training_works_as_it_is_printed(tmp_path: Path):
    """Before the first checkpoint in the same folder, behind it by going on."""
    run, spoiled = tmp_path / "my run", ["train.lr=1e30", "train.clip=0", "train.warmup=0"]
    with pytest.raises(Diverged, match=r"there is no checkpoint yet\. .* train again with --set train") as lost:
        train(POINTS, out=run, overrides=spoiled).run(progress=False)
    advice = re.findall(r"--set (\S+)", str(lost.value))
    assert [word.split("=")[0] for word in advice] == ["train.lr", "train.warmup"]
    assert float(advice[0].split("=")[1]) < 1e30
    train(POINTS, out=run, overrides=advice[1:]).run(progress=False)
    assert undiffuse.load(run).facts["step"] == 24
