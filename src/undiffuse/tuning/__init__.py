"""What a finished run can gain without training: averaged weights, a reverse variance, plans of few steps."""

from undiffuse.tuning.augmentation import LEVEL_CURVE, LEVEL_TABLE, TriedLevel, augmentation
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
    "LEVEL_CURVE",
    "LEVEL_TABLE",
    "TABLE",
    "Estimate",
    "Trial",
    "TriedLevel",
    "TunedGrid",
    "TunedSteps",
    "augmentation",
    "best",
    "ema",
    "grid",
    "variance",
]
