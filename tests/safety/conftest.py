"""A small model that was saved, and a limit on time."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from strange import TABLES

from undiffuse.codecs.identity import Identity
from undiffuse.models.diffusion import Diffusion
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a whole model."""
    about = Description(Recipe.find(TABLES), (2,), {}, Identity(), {"step": 5, "data": {"name": "moons"}})
    Diffusion.of(build.predictor(about), about).save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """Whatever a file says, it is refused within seconds: without that a test would take hours."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError("a file kept the program busy for 20 seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
