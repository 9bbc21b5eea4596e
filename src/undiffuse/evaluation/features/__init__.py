"""What distances are measured in: items of data become vectors of numbers."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("features")
