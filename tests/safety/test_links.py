"""Nothing is written outside a run folder: links in it that lead elsewhere are refused or replaced, never followed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from undiffuse.core.errors import Refused
from undiffuse.storage import files


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as a stranger might have packed it, beside a folder with something of value."""
    for folder in ("run/checkpoints/00000005", "run/previews", "run/tensorboard", "precious"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("run/model.safetensors", "run/metrics.jsonl", "run/checkpoints/00000005/state.json", "precious/diary"):
        (tmp_path / file).write_text("{}")
    return tmp_path / "run"


PLACES = [
    *("model.safetensors", "metrics.jsonl", "samples.png", "report.html", "evaluation.json", "recipe.toml", ".lock"),
    *("tensorboard/events", "previews/step_000005.png", "checkpoints/00000005/state.json", "ema/00000005.safetensors"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("target", ["../precious/diary", "/etc/passwd", "../precious/new"])
def test_a_link_that_leads_outside_is_named(run: Path, place: str, target: str):
    files.own(run)
    path = run / place
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target if target.startswith("/") else run.parent / target.removeprefix("../"))
    with pytest.raises(
        Refused, match=rf"{place} is a link that leads to .*, outside the run folder: remove it, or put"
    ):
        files.own(run)


@pytest.mark.parametrize("folder", ["checkpoints", "previews", "tensorboard", "ema", "checkpoints/00000006"])
def test_a_folder_that_is_a_link_to_elsewhere_is_named(run: Path, folder: str):
    path = run / folder
    if path.exists():
        path.rename(run.parent / "moved")
    path.symlink_to(run.parent / "precious")
    with pytest.raises(Refused, match=rf"{folder} is a link that leads to .*precious, outside the run folder"):
        files.own(run)


def test_links_that_stay_inside_are_no_harm(run: Path, tmp_path: Path):
    (run / "newest").symlink_to("checkpoints/00000005")
    (run / "absolute").symlink_to(run / "previews")
    (run / "up").symlink_to(".")  # a folder inside itself: walking it must end
    (run / "loop").symlink_to("loop")
    files.own(run)
    (tmp_path / "name").symlink_to(run)  # the run folder's own path may be a link
    files.own(tmp_path / "name")
    (run / "chain").symlink_to(tmp_path / "name" / "previews")
    files.own(run)
    (run / "sly").symlink_to("newest/../../../precious")
    with pytest.raises(Refused, match="sly is a link that leads to"):
        files.own(run)


def test_what_is_not_there_or_no_folder_has_no_links(tmp_path: Path):
    files.own(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    files.own(tmp_path / "file")


def test_a_folder_that_may_not_be_looked_through_is_named(run: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(Refused, match=r"cannot look through .*run: Permission denied"):
        files.own(run)


WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: files.write_text(path, "new"),
    "json": lambda path: files.write_json(path, {"new": 1}),
    "tensors": lambda path: files.write_tensors(path, {}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=list(WRITERS))
def test_a_file_that_is_a_link_is_replaced_and_not_followed(run: Path, write: Callable[[Path], None]):
    diary = run.parent / "precious" / "diary"
    (run / "a").symlink_to(diary)
    write(run / "a")
    assert not (run / "a").is_symlink()
    assert diary.read_text() == "{}"


def test_a_folder_that_is_a_link_is_replaced_and_not_followed(run: Path):
    precious = run.parent / "precious"
    (run / "a").symlink_to(precious)
    with files.whole(run / "a") as temporary:
        temporary.mkdir()
    assert not (run / "a").is_symlink()
    files.discard(run / "a")
    (run / "a").symlink_to(precious)
    (run / f"{files.PARTIAL}1-x").symlink_to(precious)
    files.sweep(run)
    files.discard(run / "a")
    assert [path.name for path in precious.iterdir()] == ["diary"]
    assert not [path for path in run.iterdir() if path.is_symlink()]


def test_the_temporary_name_is_another_every_time_so_that_no_link_can_wait_there(run: Path):
    names = set()
    for _ in range(50):
        with files.whole(run / "model.safetensors") as temporary:
            names.add(temporary.name)
            temporary.write_text("new")
    assert len(names) == 50
    stems = {name.removeprefix(f"{files.PARTIAL}{os.getpid()}-").partition("-")[0] for name in names}
    assert len(stems) == 50
    assert all(len(stem) == 16 for stem in stems)
    assert all(name.endswith("-model.safetensors") for name in names)


def test_a_name_as_long_as_a_file_system_allows_can_be_written(tmp_path: Path):
    name = "x" * 250 + ".png"
    files.write_text(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
