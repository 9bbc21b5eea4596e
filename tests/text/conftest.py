"""The command called as a person would, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from undiffuse.cli.main import main

Undiffuse = Callable[..., str]


@pytest.fixture
def undiffuse_(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Undiffuse:
    """Calls `undiffuse` with these words, inside an empty folder; what it prints, or on refusal what it says."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, status: int = 0) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capfd.readouterr()
        assert int(stop.value.code or 0) == status, captured.err
        return captured.err if status else captured.out

    return call
