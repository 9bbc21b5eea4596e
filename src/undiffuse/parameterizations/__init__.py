"""Parameterizations, one a file: what the network predicts (prediction types), and its preconditioning."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("parameterizations")
