"""The autoencoder of a pipeline of latents, as the codec of its run, and back as a part of its folder."""

from pathlib import Path
from typing import Any, NamedTuple

from undiffuse.codecs.latent import Latent
from undiffuse.conversion import autoencoder
from undiffuse.conversion.assembly import part
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.writing import write_config, write_weights
from undiffuse.recipes.uses import Uses
from undiffuse.sampling.run import Run

FIELD = "codec.autoencoder"


class Latents(NamedTuple):
    """The codec, the table [codec] of a recipe with such, and the runs that it names."""

    codec: Latent
    table: dict[str, Any]
    uses: Uses


def read(source: PipelineSource, name: str, sides: tuple[int, int]) -> Latents:
    """The codec by the autoencoder that is this part of a folder; sides: height and width of the latents."""
    said = source.said(name)
    size = autoencoder.image_size(said, sides)
    run: Any = autoencoder.read(said, source.weights(name), str(source.folder / name), size)
    codec = autoencoder.codec(run, said)
    path = str((source.folder / name).absolute())
    scaled = {"scale": codec.scale, "mean": list(codec.mean), "std": list(codec.std)}
    table = {"name": "latent", "autoencoder": path, **scaled}
    return Latents(codec, table, Uses(runs={FIELD: run}, paths={FIELD: path}))


def check(run: Run, what: str) -> None:
    """Raises Refused, naming what it is, unless the run is of latents whose autoencoder diffusers has."""
    autoencoder.written(_codec(run, what).autoencoder)


def write(run: Run, folder: Path) -> str:
    """Write the autoencoder of a run of latents into a folder; returns the name of its class."""
    codec = _codec(run, "it is written with its autoencoder")
    config, weights = autoencoder.written(codec.autoencoder, **autoencoder.scaling(codec))
    write_config(folder, config)
    write_weights(folder, weights)
    return str(config["_class_name"])


def _codec(run: Run, what: str) -> Latent:
    return part(run.codec, Latent, "codec", what)
