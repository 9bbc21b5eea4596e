"""What all plots share: the figure, its style, and how it becomes pixels."""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA, DRAWN = "#94a3b8", "#e4572e"  # colours of real and of drawn points, readable on white


def dot(count: int) -> float:
    """The size of a point among so many."""
    return float(np.clip(6000 / max(count, 1), 1.5, 16))


def canvas(width: float, height: float) -> "Figure":
    """An empty figure, in inches."""
    from matplotlib.figure import Figure  # 0.1 s to import, needed for plots only

    return Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")


def quiet(axes: "Axes", size: int) -> None:
    """Grey frames and small numbers, so that the points are what is seen."""
    axes.tick_params(labelsize=size, colors="#64748b")
    for side in axes.spines.values():
        side.set_color("#cbd5e1")


def render(figure: "Figure") -> Image.Image:
    """The figure's pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # once: savefig would lay the figure out in a drawing of its own, and make a file of it
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
