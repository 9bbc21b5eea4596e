"""Cases that a test runs on one after another, in one test: each of its own would cost more than what it proves."""

import inspect
from itertools import product
from typing import Any

import pytest


class Every(list[dict[str, Any]]):
    """Cases: of each, what it gives the test by name."""


def parametrize(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.each` has the arguments of `parametrize`, and makes one test of all of its cases."""
    for mark in metafunc.definition.iter_markers("each"):
        asked, values = mark.args
        names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
        rows = [(value,) if isinstance(asked, str) and len(names) == 1 else value for value in values]
        cases = Every([dict(zip(names, row, strict=True)) for row in rows])
        metafunc.parametrize(names, [[cases] * len(names)], ids=["each"])


def run(function: pytest.Function) -> bool | None:
    """Calls the test for every combination, to the last; all that fail are reported, each by what it was given."""
    given = {name: function.funcargs[name] for name in inspect.signature(function.obj).parameters}
    loops = {id(value): value for value in given.values() if isinstance(value, Every)}
    if not loops:
        return None
    import numpy as np
    import torch

    failures: list[Exception] = []
    for cases in product(*loops.values()):
        np.random.seed(0)  # noqa: NPY002 - as at the start of every test
        torch.default_generator.manual_seed(0)
        case = {name: value for each in cases for name, value in each.items()}
        try:
            function.obj(**{**given, **case})
        except Exception as failure:  # noqa: BLE001, PERF203, RUF100 - every one of them is raised below
            failure.add_note(f"with {', '.join(f'{name} = {value!r}' for name, value in case.items())}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} cases fail", failures)
    return True
