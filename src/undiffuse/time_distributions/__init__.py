"""Time distributions, one a file: at which noise levels a network is trained."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("time_distributions")
