"""Heads of autoregressive networks, one a file: the distribution of a value that its outputs mean."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("level_heads")
