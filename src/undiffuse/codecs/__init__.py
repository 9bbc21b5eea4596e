"""What stands between the data's own units and the numbers a process adds noise to."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("codecs")
