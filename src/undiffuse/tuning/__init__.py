"""What a finished run can gain without training, and the learning rate of a recipe before it."""

from undiffuse.tuning.augmentation import LEVEL_CURVE, LEVEL_TABLE, TriedLevel, augmentation
from undiffuse.tuning.averages import CURVE, LENGTHS, TABLE, Trial, best, ema
from undiffuse.tuning.grids import GRID_CURVE, GRID_TABLE, TunedGrid, TunedSteps, grid
from undiffuse.tuning.learning_rate import RATE_CURVE, RATE_TABLE, learning_rate
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
    "RATE_CURVE",
    "RATE_TABLE",
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
    "learning_rate",
    "variance",
]
