"""StableDiffusionControlNetPipeline: a control with the Stable Diffusion that it steers, in one folder."""

from pathlib import Path
from typing import Any, ClassVar

from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.pipelines.controlnet import ControlNetPipeline
from undiffuse.conversion.pipelines.stable_diffusion import StableDiffusionPipeline
from undiffuse.core.errors import Refused
from undiffuse.networks.controlnet_format import KIND
from undiffuse.sampling.run import Run

PART = "controlnet"


class StableDiffusionControlNetPipeline(Pipeline):
    """Text and a picture to image in latents (arXiv:2302.05543); all these classes have the same parts.

    It is written as two folders: the control as a ControlNetModel, and its base by the base's own run.
    """

    reads: ClassVar[tuple[str, ...]] = (
        "StableDiffusionControlNetPipeline",
        "StableDiffusionControlNetImg2ImgPipeline",
        "StableDiffusionControlNetInpaintPipeline",
    )

    def read(self, source: PipelineSource) -> Run:
        folder = source.folder
        said = source.index().get(PART)
        if not isinstance(said, list) or said[1:] != [KIND]:
            raise Refused(
                f"{folder} has the {PART} {said}, and one {KIND} is read. Of several, import the Stable Diffusion, and "
                "each control by undiffuse import CONTROLNET --base RUN -o CONTROL; then sample with all of them: "
                "--controlnet CONTROL --controlnet CONTROL"
            )
        base: Any = StableDiffusionPipeline().read_beside(source, PART)
        return ControlNetPipeline().on(folder / PART, base, str(folder.absolute()))

    def check(self, run: Run) -> None:
        raise Refused(f"a control is written alone, as a {KIND}, and its base by the run of the base")

    def write(self, run: Run, folder: Path) -> str:
        return ControlNetPipeline().write(run, folder)
