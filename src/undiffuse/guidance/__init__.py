"""Guidance, one method a file: denoisers that steer another denoiser's guess."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("guidance")
