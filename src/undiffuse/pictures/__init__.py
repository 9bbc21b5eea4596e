"""Arrays of any shape to pictures: grids, strips, animations, scatter plots, histograms, rows of tokens, and texts."""

from undiffuse.pictures.clouds import cloud_frames, cloud_strip, extent_of, histograms, scatter
from undiffuse.pictures.fields import field_strip
from undiffuse.pictures.files import png, write
from undiffuse.pictures.images import SIDE, as_images, gif, grid, picture, span_of, strip, telling, to_uint8
from undiffuse.pictures.overview import overview
from undiffuse.pictures.texts import page
from undiffuse.pictures.tokens import are_tokens, rows

__all__ = [
    "SIDE",
    "are_tokens",
    "as_images",
    "cloud_frames",
    "cloud_strip",
    "extent_of",
    "field_strip",
    "gif",
    "grid",
    "histograms",
    "overview",
    "page",
    "picture",
    "png",
    "rows",
    "scatter",
    "span_of",
    "strip",
    "telling",
    "to_uint8",
    "write",
]
