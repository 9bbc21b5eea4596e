"""Noise schedules, by name: the public face of core/schedules."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("undiffuse.core.schedules")
