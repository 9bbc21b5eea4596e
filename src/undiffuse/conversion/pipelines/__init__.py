"""The pipelines of diffusers that are read and written, one file each."""
