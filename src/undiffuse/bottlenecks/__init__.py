"""Bottlenecks of autoencoders, one a file: what keeps latents regular."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("bottlenecks")
