"""Noise schedules, one a file: how alpha and sigma go from data to noise."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("schedules")
