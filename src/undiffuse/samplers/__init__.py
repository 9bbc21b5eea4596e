"""Samplers, one a file: which bridge to take from one noise level to the next."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("samplers")
