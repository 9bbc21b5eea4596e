"""A process in the plane, seen over time: data becoming noise, noise becoming samples, and the drift."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from undiffuse.pictures.images import Array, Span
from undiffuse.pictures.plots import DATA, DRAWN, canvas, dot, quiet, render

ROWS = ("forward", "reverse", "drift")


def field_strip(
    forward: Array, reverse: Array, places: Array, drift: Array, times: Sequence[float], extent: Span
) -> Image.Image:
    """Three rows of panels, data on the left and noise on the right: the points that the forward process makes, those
    on the way back at the same times, and arrows of the drift.

    forward, reverse: (times, n, 2); places, drift: (times, m, 2). Arrows are as long as the panel allows; the longer
    three quarters of a panel are cut to one length, so that the far ones do not hide the rest.
    """
    order = sorted(range(len(times)), key=lambda i: times[i])
    figure = canvas(2.0 * len(times), 6.2)
    for row, name in enumerate(ROWS):
        for column, i in enumerate(order):
            axes = figure.add_subplot(len(ROWS), len(times), row * len(times) + column + 1)
            axes.set(xlim=extent, ylim=extent, aspect="equal", xticks=[], yticks=[])
            quiet(axes, 7)
            if row == 0:
                axes.set_title(f"t = {times[i]:.3g}", fontsize=8)
            if column == 0:
                axes.set_ylabel(name, fontsize=9)
            if name == "drift":
                axes.quiver(*places[i].T, *_cut(drift[i]).T, color=DRAWN, angles="xy", width=0.006)
            else:
                cloud, colour = (forward[i], DATA) if name == "forward" else (reverse[i], DRAWN)
                axes.scatter(cloud[:, 0], cloud[:, 1], s=dot(len(cloud)) / 3, c=colour, linewidths=0, alpha=0.7)
    return render(figure)


def _cut(drift: Array) -> Array:
    """The arrows (m, 2), none longer than the shortest quarter."""
    length = np.linalg.norm(drift, axis=1, keepdims=True)
    return drift * np.minimum(1.0, np.quantile(length, 0.25) / np.maximum(length, 1e-12))
