"""Losses of reconstructions, one a file: the terms that an autoencoder is trained on."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("losses")
