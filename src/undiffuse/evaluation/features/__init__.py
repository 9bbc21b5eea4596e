"""Features: maps from items of data to vectors, between which distances are measured."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("features")
