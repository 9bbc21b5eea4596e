"""Arrays of any shape to pictures: grids, strips, animations, scatter plots, histograms, rows of tokens, and texts."""

from undiffuse.pictures.clouds import extent_of, histograms, scatter
from undiffuse.pictures.fans import fans
from undiffuse.pictures.fields import field_strip
from undiffuse.pictures.files import FORMATS, encoded, png
from undiffuse.pictures.images import as_images, gif, picture, span_of, telling, to_uint8
from undiffuse.pictures.overview import overview, shared_span
from undiffuse.pictures.pairs import pairs
from undiffuse.pictures.sheets import arranged, grid, lined, sheet, strip
from undiffuse.pictures.texts import page
from undiffuse.pictures.tokens import are_tokens, rows
from undiffuse.pictures.views import views
from undiffuse.pictures.ways import points_frames, points_strip

__all__ = [
    "FORMATS",
    "are_tokens",
    "arranged",
    "as_images",
    "encoded",
    "extent_of",
    "fans",
    "field_strip",
    "gif",
    "grid",
    "histograms",
    "lined",
    "overview",
    "page",
    "pairs",
    "picture",
    "png",
    "points_frames",
    "points_strip",
    "rows",
    "scatter",
    "shared_span",
    "sheet",
    "span_of",
    "strip",
    "telling",
    "to_uint8",
    "views",
]
