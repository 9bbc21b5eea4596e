"""Tiny trained runs, and the command called as a person would, in this process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import alone as process
import pytest
from small_runs import SMALL, trained

import undiffuse


@dataclass(frozen=True)
class Outcome:
    """What a call of the command came to."""

    status: int
    out: str
    err: str


Undiffuse = Callable[..., Outcome]


@pytest.fixture
def undiffuse_(
    called: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Undiffuse:
    """Calls `undiffuse` with these words, inside an empty folder."""
    monkeypatch.chdir(tmp_path)

    return lambda *words: Outcome(*called(*words))


@pytest.fixture(scope="module", autouse=True)
def _all_quick(quick_evaluation: None) -> None:
    """Whatever is evaluated here is evaluated quickly."""


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits with their classes."""
    return trained(tmp_path_factory, "digits", *SMALL, "train.held_out=0.2")  # as finished samples are judged


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits that was told no classes."""
    recipe = undiffuse.Recipe.find("digits")
    tables = {name: table for name, table in recipe.tables.items() if name != "conditions"}
    tables["sampler"] = {name: value for name, value in recipe["sampler"].items() if name != "guidance"}
    return trained(tmp_path_factory, undiffuse.Recipe("plain", tables), *SMALL)


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on points in the plane."""
    return trained(tmp_path_factory, "toy-2d", "data.count=400")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> process.Alone:
    """What a process of its own printed."""
    return process.alone(tmp_path_factory)


@pytest.fixture
def unchanged() -> Callable[..., AbstractContextManager[None]]:
    """A context that fails if anything below these folders appears, vanishes or changes."""

    def state(folders: tuple[Path, ...]) -> dict[Path, bytes]:
        return {
            path: path.read_bytes() if path.is_file() else b""
            for folder in folders
            for path in sorted(folder.rglob("*"))
        }

    @contextmanager
    def watch(*folders: Path) -> Iterator[None]:
        before = state(folders)
        yield
        assert state(folders) == before

    return watch
