"""Where data come from: built-in sets, toys in the plane, a folder of images, a NumPy file."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face(__name__)
