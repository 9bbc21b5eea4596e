"""Nothing that a test decodes ends up in a person's cache."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder that is the cache for one test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(folder))
    return folder


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little memory that everything goes to the disk."""
    monkeypatch.setenv("UNDIFFUSE_MEMORY", "100")
