"""A small model of texts, trained once, and the command called as a person would."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_texts import LINES, TINY

from undiffuse.training.start import train

Undiffuse = Callable[..., str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("diffusion_lm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(folder / "cache"))
        lines = [f"{LINES[i % 5]} {LINES[(3 * i + i // 5) % 5]}" for i in range(200)]
        (folder / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
        yield folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    train("text-diffusion-lm", out=place / "run", overrides=[f"data.path={place / 'lines.txt'}", *TINY]).run(
        progress=False
    )
    return place / "run"


@pytest.fixture
def undiffuse_(
    called: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Undiffuse:
    """Calls `undiffuse` with these words, inside an empty folder; what it prints and says, or why it refuses."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, status: int = 0) -> str:
        found, out, err = called(*words)
        assert found == status, err
        return err if status else out + err

    return call
