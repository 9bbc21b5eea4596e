"""Operators of measurements, one a file: what is seen of a sample."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("operators")
