"""A run of images and a run of videos that starts from it, both tiny; and the command, called as a person would."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from moving_runs import recipe
from sklearn.datasets import load_digits

from undiffuse.training.start import train


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of digits that moving ones are made of."""
    levels, labels = load_digits(return_X_y=True)
    file = tmp_path_factory.mktemp("data") / "digits.npz"
    images = (np.asarray(levels) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    few = np.flatnonzero(np.asarray(labels) < 3)[:60]
    np.savez(file, images=images[few], labels=np.asarray(labels)[few])
    return file


@pytest.fixture(scope="session")
def image_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "images"
    train(recipe("moving-digits-images", digits), out=folder).run()
    return folder


@pytest.fixture(scope="session")
def video_run(digits: Path, image_run: Path) -> Path:
    """It knows of its frames nothing."""
    folder = image_run.parent / "videos"
    whole = recipe("moving-digits-from-images", digits, f"init.run={image_run}")
    train(whole.with_tables(conditions={"label": whole["conditions"]["label"]}), out=folder).run()
    return folder


@pytest.fixture
def undiffuse_(undiffuse_: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    """The same, and what was said in one line."""

    def call(*words: object) -> tuple[int, str]:
        status, said = undiffuse_(*words)
        return status, " ".join(said.split())

    return call
