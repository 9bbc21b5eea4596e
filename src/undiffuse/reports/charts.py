"""Line charts as SVG text that takes its ink from the page, so that one chart serves light and dark."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID = "#123456", "#654321"  # stand-ins, replaced by the page's own colours
SIZE = 11  # of type, in points
ROUND = [1, 2, 5, 10]  # what ticks are multiples of
COLOURS = ("#2f81f7", "#e4572e", "#8b949e")


@dataclass(frozen=True)
class Line:
    """One curve: its name, where it lies, and whether it is the background of a smoother one or a dashed reference."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = COLOURS[0]
    faint: bool = False
    dashed: bool = False
    dots: bool = False


def chart(lines: Sequence[Line], x: str, y: str, log: bool = False, width: float = 4.8, height: float = 3.1) -> str:
    """An SVG element of the curves with labelled axes; `log`: logarithmic y."""
    from matplotlib import rc_context  # 0.7 s to import, needed for reports only
    from matplotlib.figure import Figure

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "undiffuse", "font.family": "sans-serif"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                color=line.colour,
                lw=0.8 if line.faint else 1.8,
                alpha=0.25 if line.faint else 1,
                ls="--" if line.dashed else "-",
                marker="o" if line.dots else None,
                ms=3,
                label=None if line.faint else line.name,
            )
        _dress(axes, x, y, log, lines)
        return _svg(figure)


def smooth(y: Sequence[float], window: int) -> list[float]:
    """A running mean over `window` values, centred, shortened at both ends; as long as y."""
    values = np.asarray(y, float)
    kernel = np.ones(max(1, min(window, len(values))))
    return list(np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same"))


def _dress(axes: "Axes", x: str, y: str, log: bool, lines: Sequence[Line]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_xlabel(x, color=INK, fontsize=SIZE)
    axes.set_ylabel(y, color=INK, fontsize=SIZE)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
    if log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        few = (
            MaxNLocator(6, steps=ROUND)
            if high < 20 * low
            else LogLocator(subs=(1, 3) if high < 1000 * low else (1,), numticks=8)
        )
        axes.yaxis.set_major_locator(few)
        axes.yaxis.set_minor_locator(NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))  # mathtext is slow, and small to read
    axes.grid(color=GRID, lw=0.6)
    axes.tick_params(which="both", colors=INK, length=0, labelsize=SIZE)
    for side in axes.spines.values():
        side.set_visible(False)
    if sum(not line.faint for line in lines) > 1:
        axes.legend(frameon=False, labelcolor=INK, fontsize=SIZE)


def plain(value: float) -> str:
    """`400`, `12,500`, `0.05`, `1e-06`: a number as one reads it beside an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 and value == round(value) else f"{value:.4g}"


def _svg(figure: "Figure") -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]  # drops the XML head, which an HTML page must not have
    return text.replace(INK, "currentColor").replace(GRID, "var(--line)")
