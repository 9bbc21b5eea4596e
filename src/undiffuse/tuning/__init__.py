"""What a finished run can gain without training: averaged weights, a reverse variance, plans of few steps."""

from undiffuse.tuning.averages import CURVE, LENGTHS, TABLE, Trial, best, ema
from undiffuse.tuning.grids import GRID_CURVE, GRID_TABLE, TunedGrid, TunedSteps, grid
from undiffuse.tuning.place import BEFORE, FOLDER
from undiffuse.tuning.variances import Estimate, variance

__all__ = [
    "BEFORE",
    "CURVE",
    "FOLDER",
    "GRID_CURVE",
    "GRID_TABLE",
    "LENGTHS",
    "TABLE",
    "Estimate",
    "Trial",
    "TunedGrid",
    "TunedSteps",
    "best",
    "ema",
    "grid",
    "variance",
]
