"""A law that asks for `schedule`, `parameterization`, `sampler` ... runs on every registered one, also on new ones."""

import inspect
from itertools import product
from typing import Any

import pytest
import torch
from registered import every, settled

from undiffuse.core.grid import Grid
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.core.tabulated import Tabulated
from undiffuse.core.time_distribution import TimeDistribution

FIXTURES: dict[str, tuple[Any, ...]] = {
    "schedule": ("schedules", Schedule),
    "table": ("schedules", Tabulated),
    "parameterization": ("parameterizations", Parameterization),
    "grid": ("grids", Grid),
    "draw": ("time_distributions", TimeDistribution),
    "sampler": ("samplers", Sampler, "values"),
    "sampler_of_any_order": ("samplers", Sampler, "values"),
    "general_sampler": ("samplers", Sampler, "mixed"),
    "token_sampler": ("samplers", Sampler, "tokens"),
}
TOGETHER = ("schedule", "table", "parameterization", "grid", "draw")  # microseconds each: one test runs on all


class Every(tuple[Any, ...]):
    """Components that a law runs on one after another, in one test."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = set(inspect.signature(metafunc.function).parameters)
    for mark in metafunc.definition.iter_markers("parametrize"):  # a test may name its own
        asked -= (
            {name.strip() for name in mark.args[0].split(",")} if isinstance(mark.args[0], str) else set(mark.args[0])
        )
    for fixture, which in FIXTURES.items():
        if fixture in asked:
            components = settled(every(*which)) if fixture == "sampler" else every(*which)
            if fixture in TOGETHER:
                metafunc.parametrize(fixture, [Every(components)], ids=[f"every {fixture}"])
            else:
                metafunc.parametrize(fixture, components, ids=[short(c) for c in components])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Calls the law for every combination, to the last; all that fail are reported, each by its components."""
    given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    loops = {name: value for name, value in given.items() if isinstance(value, Every)}
    if not loops:
        return None
    failures: list[Exception] = []
    for components in product(*loops.values()):
        torch.default_generator.manual_seed(0)  # as at the start of every test
        try:
            pyfuncitem.obj(**{**given, **dict(zip(loops, components, strict=True))})
        except Exception as failure:  # noqa: BLE001, PERF203, RUF100 - every one of them is raised below
            failure.add_note(f"with {', '.join(map(repr, components))}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} components break the law", failures)
    return True


def short(component: Any) -> str:
    return repr(component).replace(" ", "")[:60]
