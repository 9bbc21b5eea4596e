"""Times: grids to sample on, and draws to train on."""

from undiffuse.core.draws import Draw, Importance, LogNormal, LogUniform, Stratified, Uniform
from undiffuse.core.grids import Even, Grid, Karras, Leading, Linspace, Listed, Logistic, LogSNR, Quadratic, Trailing

__all__ = [
    "Draw",
    "Even",
    "Grid",
    "Importance",
    "Karras",
    "Leading",
    "Linspace",
    "Listed",
    "LogNormal",
    "LogSNR",
    "LogUniform",
    "Logistic",
    "Quadratic",
    "Stratified",
    "Trailing",
    "Uniform",
]
