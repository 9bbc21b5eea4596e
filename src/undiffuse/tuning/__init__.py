"""What a finished run can gain without training: the length of its averaged weights, and its reverse variance."""

from undiffuse.tuning.averages import CURVE, LENGTHS, TABLE, Trial, best, ema
from undiffuse.tuning.place import BEFORE, FOLDER
from undiffuse.tuning.variances import Estimate, variance

__all__ = ["BEFORE", "CURVE", "FOLDER", "LENGTHS", "TABLE", "Estimate", "Trial", "best", "ema", "variance"]
