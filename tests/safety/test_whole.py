"""A file is the old one or the new one: with a full disk, a limit, or a process that is killed while it writes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.storage import files

SMALL, LARGE = {"w": torch.zeros(1000)}, {"w": torch.ones(1_000_000)}
LIMITED = """
import resource
import torch
from undiffuse.core.errors import Refused
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
path = Path(sys.argv[1]) / "limited"
for write in (
    lambda: files.write_tensors(path / "model", {"w": torch.ones(1_000_000)}),
    lambda: files.write_text(path / "text", "y" * 1_000_000),
    lambda: files.write_json(path / "json", {"y": "y" * 1_000_000}),
):
    try:
        write()
    except Refused as error:
        print(error)
    else:
        sys.exit("a file beyond the limit was written")
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from undiffuse.storage import files

def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)

for moment in ("writing", "syncing", "renaming", "never"):
    path = Path(sys.argv[1]) / moment / "a"
    files.write_text(path, "old")
    child = os.fork()  # so that PyTorch is imported once
    if child:
        print(moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        continue
    if moment == "syncing":
        files.sync = die
    if moment == "renaming":
        Path.replace = die
    with files.whole(path) as temporary:
        temporary.write_text("half" if moment == "writing" else "new")
        if moment == "writing":
            die()
    os._exit(0)
print("@@", flush=True)
"""


def old(folder: Path) -> dict[str, bytes]:
    """Files that are there before."""
    files.write_tensors(folder / "model", SMALL)
    files.write_text(folder / "text", "old")
    files.write_json(folder / "json", {"old": 1})
    return content(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def folder_of(path: Path, size: int) -> None:
    """Write a folder of two files, the second of this size."""
    with files.whole(path) as folder:
        folder.mkdir()
        (folder / "a").write_text("a")
        (folder / "b").write_text("b" * size)


@dataclass(frozen=True)
class Tried:
    """What a process printed whose children were killed as they wrote, and that then had a limit on files itself."""

    place: Path
    before: dict[str, bytes]
    killed: str
    limited: str


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """One process for both, since each takes seconds to import PyTorch."""
    place = tmp_path_factory.mktemp("whole")
    (place / "limited").mkdir()
    before = old(place / "limited")
    words = [sys.executable, "-c", KILLED + LIMITED, str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed, _, limited = done.stdout.partition("@@\n")
    return Tried(place, before, killed, limited)


def test_a_limit_on_the_size_of_files_keeps_the_old_ones(tried: Tried):
    folder = tried.place / "limited"
    assert [line.partition(": ")[0] for line in tried.limited.splitlines()] == [
        f"cannot write {folder / name}" for name in ("model", "text", "json")
    ]
    assert tried.limited.lower().count("file too large") == 3
    assert content(folder) == tried.before


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte; skips where this process may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, where it is allowed")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_the_old_files_and_leaves_nothing_behind(disk: Path):
    before = old(disk)
    for write in (
        lambda: files.write_tensors(disk / "model", LARGE),
        lambda: files.write_text(disk / "text", "y" * 2_000_000),
        lambda: files.write_json(disk / "json", {"y": "y" * 2_000_000}),
        lambda: files.write_tensors(disk / "new", LARGE),
    ):
        with pytest.raises(Refused, match=r"cannot write .*[Nn]o space left on device"):
            write()
        assert content(disk) == before
    with pytest.raises(Refused, match="No space left on device"):
        folder_of(disk / "folder", 2_000_000)
    assert content(disk) == before
    files.write_tensors(disk / "model", {"w": torch.ones(1000)})
    assert content(disk)["model"] != before["model"]


def test_a_process_killed_at_any_moment_leaves_the_old_file(tried: Tried):
    ends = dict(line.split() for line in tried.killed.splitlines())
    assert ends == {moment: str(-signal.SIGKILL) for moment in ("writing", "syncing", "renaming")} | {"never": "0"}
    for moment in ends:
        folder = tried.place / moment
        assert (folder / "a").read_text() == ("new" if moment == "never" else "old")
        assert len(list(folder.iterdir())) == (1 if moment == "never" else 2)
        files.sweep(folder)
        assert [left.name for left in folder.iterdir()] == ["a"]


def test_a_folder_is_replaced_by_two_renames_with_all_of_the_new_one_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Removing the old folder first would leave neither for as long as that takes."""
    path = tmp_path / "a"
    for text in ("old", "new"):
        with files.whole(path) as folder:
            folder.mkdir()
            (folder / "x").write_text(text)
            seen: list[set[str]] = []
            replace = Path.replace

            def watched(self: Path, target: Path, replace=replace, seen=seen) -> Path:
                seen.append({p.read_text() for p in tmp_path.rglob("x")})
                return replace(self, target)

            monkeypatch.setattr(Path, "replace", watched)
        monkeypatch.undo()
    assert seen == [{"old", "new"}, {"old", "new"}]
    assert (path / "x").read_text() == "new"
    assert [left.name for left in tmp_path.iterdir()] == ["a"]
