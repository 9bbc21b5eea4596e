"""Grids, one a file: the times that a sampler visits, from noise to data."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("grids")
