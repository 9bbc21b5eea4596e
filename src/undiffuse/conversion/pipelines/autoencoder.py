"""AutoencoderKL and VQModel, each alone in a folder: a run of kind autoencoder."""

from pathlib import Path
from typing import ClassVar

from undiffuse.conversion.autoencoder import read, written
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.writing import write_config, write_weights
from undiffuse.core.errors import Refused
from undiffuse.sampling.run import Run


class AutoencoderPipeline(Pipeline):
    """Images to latents and back (arXiv:2112.10752, app. G)."""

    reads: ClassVar[tuple[str, ...]] = ("AutoencoderKL", "VQModel")

    def read(self, source: PipelineSource) -> Run:
        return read(source.said(""), source.weights(""), str(source.folder))

    def check(self, run: Run) -> None:
        if not run.reconstructs:
            raise Refused(f"the run is {run.what}, and this is for autoencoders")
        written(run)

    def write(self, run: Run, folder: Path) -> str:
        config, weights = written(run)
        write_config(folder, config)
        write_weights(folder, weights)
        return str(config["_class_name"])
