"""The command called as a person would, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

Undiffuse = Callable[..., str]


@pytest.fixture
def undiffuse_(
    called: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Undiffuse:
    """Calls `undiffuse` with these words, inside an empty folder; what it prints, or on refusal what it says."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, status: int = 0) -> str:
        found, out, err = called(*words)
        assert found == status, err
        return err if status else out

    return call
