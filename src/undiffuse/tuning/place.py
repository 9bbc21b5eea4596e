"""Where tuning writes, and how a tuned model takes the place of the one that training left."""

import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from undiffuse.sampling.generator import Generator
from undiffuse.sampling.run import FILE
from undiffuse.storage.files import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "tuning"
BEFORE = "model-before-tuning.safetensors"


def keep(run: Path, model: Generator) -> None:
    """Make this the run's model; what training left is kept beside it."""
    if not (run / BEFORE).exists():
        with whole(run / BEFORE) as temporary:
            shutil.copyfile(run / FILE, temporary)
    model.save(run)


def draw(path: Path, figure: "Figure") -> None:
    """Write a figure as a PNG file, whole or not at all."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    with whole(path) as temporary:
        temporary.write_bytes(file.getvalue())
