"""Kinds of conditions, one a file: how they are read from data, given by a person, encoded, dropped and described."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("conditions")
