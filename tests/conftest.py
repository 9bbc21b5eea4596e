"""One thread, known seeds, float32 and checked types for every test: nothing depends on the machine or on luck."""

import gc
import os
import random
from collections.abc import Iterator, Sequence
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


def pytest_collection_finish() -> None:
    """Modules stay, so the collector need not look at them again and again; and it comes less often for the rest."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
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


def sketch(lines: Sequence[Any], x: str, y: str, log: bool = False, **size: float) -> str:
    """A chart as `charts.chart` makes it, without its curves: only whether they can be drawn is found out."""
    assert x
    assert y
    assert all(len(line.x) == len(line.y) > 0 for line in lines)
    assert not log or all(value > 0 for line in lines for value in line.y)
    return "<svg></svg>"


@pytest.fixture(scope="session", autouse=True)
def _sketched() -> Iterator[None]:
    """Every run draws its page of training: half a second, of which a test that asks for `drawn` sees something."""
    from undiffuse.reports import training_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_page, "chart", sketch)
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of training with its curves."""
    from undiffuse.reports import charts, training_page

    monkeypatch.setattr(training_page, "chart", charts.chart)
