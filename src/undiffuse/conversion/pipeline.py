"""The interface of a pipeline of diffusers: how its folder becomes a run, and a run its folder."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from undiffuse.conversion.pipeline_folder import PipelineFolder
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.single_file import SingleFile
from undiffuse.sampling.run import Run


class Pipeline(ABC):
    """Reads folders of some classes of diffusers as runs, and writes runs as such.

    reads: the names of these classes, in `model_index.json`, or in `config.json` of a single model. No two pipelines
    read the same. refuses: the names of classes like these that have no run here, each with why and what to do.
    """

    reads: ClassVar[tuple[str, ...]]
    refuses: ClassVar[dict[str, str]] = {}

    def load(self, folder: Path) -> Run:
        """`read` of a folder, or of a single file."""
        return self.read(SingleFile(folder) if folder.is_file() else PipelineFolder(folder))

    @abstractmethod
    def read(self, source: PipelineSource) -> Run:
        """The run that the folder holds, in float32 on the CPU.

        Raises Refused, naming the field or the part, for what has no meaning here and for what is missing.
        """

    @abstractmethod
    def check(self, run: Run) -> None:
        """Raises Refused, naming what it is, where the run holds what these classes have not; reads no weights."""

    @abstractmethod
    def write(self, run: Run, folder: Path) -> str:
        """Write the run, which `check` let pass, into an empty folder; returns the name of its class there."""
