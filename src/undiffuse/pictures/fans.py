"""Draws of a series as bands around their median, beside what is known of it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from undiffuse.pictures.plots import DATA, DRAWN, canvas, quiet, render

MOST = 6  # channels


def fans(known: np.ndarray, samples: np.ndarray, steps: np.ndarray, names: Sequence[str] = ()) -> Image.Image:
    """Known numbers (length, channels), NaN where there are none, and draws (n, k, channels) of these steps (k,).

    The bands hold 50 and 90 % of the draws; steps that follow one another are joined.
    """
    channels = min(known.shape[1], MOST)
    figure = canvas(7, 1.2 + 1.6 * channels)
    axes = figure.subplots(channels, 1, squeeze=False, sharex=True)[:, 0]
    groups = np.split(np.arange(len(steps)), np.flatnonzero(np.diff(steps) > 1) + 1)
    for channel, plot in enumerate(axes):
        quiet(plot, 8)
        plot.plot(np.arange(len(known)), known[:, channel], color=DATA, linewidth=1.2)
        low, lower, middle, upper, high = np.quantile(samples[:, :, channel], (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
        for group in groups:
            at = steps[group]
            marker = "o" if len(group) == 1 else ""
            plot.fill_between(at, low[group], high[group], color=DRAWN, alpha=0.18, linewidth=0)
            plot.fill_between(at, lower[group], upper[group], color=DRAWN, alpha=0.32, linewidth=0)
            plot.plot(at, middle[group], color=DRAWN, linewidth=1.4, marker=marker, markersize=3)
        if channel < len(names):
            plot.set_title(names[channel], fontsize=9, loc="left", color="#334155")
    return render(figure)
