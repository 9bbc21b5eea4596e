"""Where tuning writes, and how a tuned model takes the place of the one that training left."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from undiffuse.core.errors import Refused
from undiffuse.models.load import denoising
from undiffuse.pictures.plots import canvas
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.run import FILE, LORA
from undiffuse.storage.files import whole
from undiffuse.storage.tensor_file import held

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "tuning"
BEFORE = "model-before-tuning.safetensors"


def tunable(run: Path) -> DenoisingGenerator:
    """The run in float32; raises Refused for a LoRA, whose weights are not its own."""
    model = denoising(run, precision="float32")
    if not (run / FILE).exists():  # the folder of another library
        return model
    with held(run / FILE, "model") as found:
        if LORA in found.about:
            raise Refused(
                f"{run} is a LoRA, and what is tuned is kept with whole weights: first "
                f"`undiffuse export {quote(str(run))} --format merged -o {quote(f'{run}-merged')}`, and then tune that"
            )
    return model


def keep(run: Path, model: Generator) -> None:
    """Make this the run's model; what training left is kept beside it."""
    if not (run / BEFORE).exists():
        with whole(run / BEFORE) as temporary:
            shutil.copyfile(run / FILE, temporary)
    model.save(run)


def draw(path: Path, curve: Callable[["Axes"], None]) -> None:
    """Write what is drawn on axes, with a legend and a grid, as a PNG file, whole or not at all."""
    figure, file = canvas(5.2, 3.4), io.BytesIO()
    axes = figure.add_subplot()
    curve(axes)
    axes.legend(frameon=False)
    axes.grid(color="#e2e8f0", lw=0.6)
    figure.savefig(file, format="png")
    with whole(path) as temporary:
        temporary.write_bytes(file.getvalue())
