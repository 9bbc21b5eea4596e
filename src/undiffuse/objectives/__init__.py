"""Objectives, one a file: what training lowers."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("objectives")
