"""Editing: what a model can do with a sample that is there already."""

from undiffuse.editing.complete import complete
from undiffuse.editing.embeddings import towards, variations
from undiffuse.editing.enlarge import enlarge
from undiffuse.editing.frames import extend, fill
from undiffuse.editing.impute import impute
from undiffuse.editing.infill import infill
from undiffuse.editing.interpolate import between, inverted
from undiffuse.editing.inverse_problems import METHODS, inpaint, restore
from undiffuse.editing.outpaint import outpaint
from undiffuse.editing.sdedit import denoise, noise_level, vary

__all__ = [
    "METHODS",
    "between",
    "complete",
    "denoise",
    "enlarge",
    "extend",
    "fill",
    "impute",
    "infill",
    "inpaint",
    "inverted",
    "noise_level",
    "outpaint",
    "restore",
    "towards",
    "variations",
    "vary",
]
