"""Data: sources of one's own, built-in sets, and toys."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("data")
