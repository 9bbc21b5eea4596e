"""No command writes through a link in a run folder that leads outside of it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from strange import TABLES

import undiffuse
from undiffuse.cli.main import main

pytestmark = pytest.mark.usefixtures("quick_evaluation")

LINKS = [
    "checkpoints",
    "tensorboard",
    "previews",
    "ema",
    "metrics.jsonl",
    "samples.png",
    "evaluation.png",
    "report.html",
    "samples",
    ".lock",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"steps": 4, "batch": 8, "checkpoint_every": 2, "preview_every": 0, "snapshots": 2}
    folder = tmp_path_factory.mktemp("runs") / "run"
    undiffuse.train({**TABLES, "data": {"name": "moons", "count": 100}, "train": settings}, out=folder).run(
        progress=False
    )
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "train": lambda run: ["train", str(run), "--resume", "--set", "train.steps=6"],
    "sample": lambda run: ["sample", str(run), "-n", "20", "--steps", "2"],
    "evaluate": lambda run: ["evaluate", str(run), "-n", "20", "--steps", "2"],
    "tune": lambda run: ["tune", str(run), "ema", "--lengths", "0.1", "--keep"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))
def test_what_a_link_leads_to_is_never_written(
    trained: Path, tmp_path: Path, command: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]
):
    for name in LINKS:
        run, outside = tmp_path / name / "run", tmp_path / name / "precious"
        shutil.copytree(trained, run)
        place = run / name
        if place.exists():
            place.rename(outside)
        elif "." in name:
            outside.write_text("precious")
        else:
            outside.mkdir()
        place.symlink_to(outside)
        before = contents(tmp_path / name)
        with pytest.raises(SystemExit) as stop:
            main(command(run))
        assert stop.value.code == 2
        assert f"{os.sep}{name} is a link" in capsys.readouterr().err
        assert contents(tmp_path / name) == before
