"""Networks that see items at several depths, one a file: what a perceptual loss compares."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("feature_networks")
