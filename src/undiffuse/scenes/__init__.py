"""What a scene trains, one file each: images, a grid of voxels, a small NeRF, Gaussian splats."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("scenes")
