"""A law that asks for `schedule`, `parameterization`, `sampler` ... runs on every registered one, also on new ones."""

import inspect
from typing import Any

import pytest
from every import Every
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = [*metafunc.definition.iter_markers("parametrize"), *metafunc.definition.iter_markers("each")]
    asked = set(inspect.signature(metafunc.function).parameters)
    for mark in marks:  # a test may name its own
        asked -= (
            {name.strip() for name in mark.args[0].split(",")} if isinstance(mark.args[0], str) else set(mark.args[0])
        )
    for fixture, which in FIXTURES.items():
        if fixture in asked:
            components = settled(every(*which)) if fixture == "sampler" else every(*which)
            if fixture in TOGETHER:
                metafunc.parametrize(
                    fixture, [Every([{fixture: each} for each in components])], ids=[f"every {fixture}"]
                )
            else:
                metafunc.parametrize(fixture, components, ids=[short(c) for c in components])


def short(component: Any) -> str:
    return repr(component).replace(" ", "")[:60]
