"""Pages without their curves and plots that nobody arranges: what most tests see of them takes a third of the time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine

from undiffuse.reports import charts

CHART, ARRANGE = charts.chart, ConstrainedLayoutEngine.execute


def sketch(lines: Sequence[Any], x: str, y: str, log: bool = False, **size: float) -> str:
    """A chart as `charts.chart` makes it, without its curves: its words, and whether they can be drawn."""
    assert x
    assert y
    assert all(len(line.x) == len(line.y) > 0 for line in lines)
    assert not log or all(value > 0 for line in lines for value in line.y)
    return f"<svg>{' '.join([x, y, *(line.name for line in lines)])}</svg>"


@contextmanager
def sketched() -> Iterator[None]:
    """Inside, charts have no curves, and no plot moves its parts until they fit, which takes half of its drawing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "chart", sketch)
        patch.setattr(ConstrainedLayoutEngine, "execute", lambda self, figure: None)
        yield


@contextmanager
def drawn() -> Iterator[None]:
    """Inside, charts and plots are drawn as people get them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "chart", CHART)
        patch.setattr(ConstrainedLayoutEngine, "execute", ARRANGE)
        yield
