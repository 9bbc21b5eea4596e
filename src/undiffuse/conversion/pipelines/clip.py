"""CLIPModel of transformers, a pair of encoders: a run of kind clip."""

from pathlib import Path
from typing import ClassVar

from undiffuse.conversion import clip_pair
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.core.errors import Refused
from undiffuse.sampling.run import Run


class CLIPPipeline(Pipeline):
    """Images and texts in one space (arXiv:2103.00020); the tokenizer lies in the same folder. It is not written."""

    reads: ClassVar[tuple[str, ...]] = ("CLIPModel",)

    def read(self, source: PipelineSource) -> Run:
        return clip_pair.read(source, source.folder)

    def check(self, run: Run) -> None:
        raise Refused("a CLIPModel of transformers is read, and not written")

    def write(self, run: Run, folder: Path) -> str:
        raise Refused("a CLIPModel of transformers is read, and not written")
