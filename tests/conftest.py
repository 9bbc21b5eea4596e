"""One thread, known seeds, float32 and checked types for every test: nothing depends on the machine or on luck."""

import gc
import os
import random
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import every
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """What the core and the networks take and give is checked at run time, from the first import of undiffuse on."""
    if config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        return  # this process runs no test, and its workers wait for it
    import torch
    from beartype import BeartypeConf
    from beartype.claw import beartype_packages

    checks = BeartypeConf(claw_is_pep526=False, is_pep484_tower=True)
    beartype_packages(("undiffuse.core", "undiffuse.networks"), conf=checks)
    torch.set_num_threads(1)
    gc.disable()  # until all tests are imported


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    every.parametrize(metafunc)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow comes first, so that no worker is left waiting for the other, nor for what one makes for both."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Modules stay, so the collector need not look at them again and again; and it comes less often for the rest."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return every.run(pyfuncitem)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - scikit-learn draws from the global generator
    torch.default_generator.manual_seed(0)  # torch.manual_seed also tells devices that no test has, each time anew


@pytest.fixture(scope="session", autouse=True)
def _float32() -> Iterator[None]:
    """No device multiplies bfloat16, but in the tests of precision: elsewhere every run would first try it."""
    from undiffuse.networks import precision

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "has_bfloat16", lambda device: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _sketched() -> Iterator[None]:
    """Pages and plots are sketches, but for a test that asks for `drawn`."""
    import sketches

    with sketches.sketched():
        yield


@pytest.fixture(scope="session", autouse=True)
def usual_levels() -> Iterator[int]:
    """Training measures the loss at 4 noise levels, in one call of the network; gives how many there usually are."""
    from undiffuse.training import validation

    levels = validation.LEVELS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "LEVELS", validation.TOGETHER)
        yield levels


@pytest.fixture(scope="session", autouse=True)
def _drawn_once() -> Iterator[None]:
    """Tests draw the same few random bits again and again, from the same seeds: the last that were drawn are kept."""
    import numpy as np

    from undiffuse.core import random

    words = random.philox_words

    @lru_cache(5000)
    def kept(samples: bytes, blocks: int, key: tuple[int, int]) -> Any:
        return words(np.frombuffer(samples, np.int64), blocks, key)

    def drawn(samples: Any, blocks: int, key: tuple[int, int]) -> Any:
        return kept(samples.tobytes(), blocks, key) if len(samples) * blocks <= 1000 else words(samples, blocks, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "philox_words", drawn)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def drawn() -> Iterator[None]:
    """Pages with their curves, and plots as people get them."""
    import sketches

    with sketches.drawn():
        yield


@pytest.fixture(scope="module")
def quick_evaluation() -> Iterator[None]:
    """An evaluation looks at 4 noise levels and averages 4 random subsets, which takes half its time."""
    from undiffuse.evaluation import error_by_noise
    from undiffuse.evaluation.metrics import evidence

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(error_by_noise, "LEVELS", 4)
        patch.setattr(evidence, "DRAWS", 4)
        yield


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """Nobody waits for the disk, but processes of their own that are killed while they write."""
    from undiffuse.storage import files

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "sync", lambda path: None)
        yield


@pytest.fixture
def called(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls `undiffuse` with these words, in this process; its exit status, and what it printed and what it said."""

    from undiffuse.cli.main import main

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capfd.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def undiffuse_(called: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str]]:
    """The same, both streams in one text."""

    def call(*words: object) -> tuple[int, str]:
        status, out, err = called(*words)
        return status, out + err

    return call
