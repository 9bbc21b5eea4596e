"""A folder of diffusers, looked into part by part."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from undiffuse.conversion.pipeline_source import CONFIG, INDEX, SCHEDULER, PipelineSource
from undiffuse.core.errors import Refused
from undiffuse.storage.files import read_json
from undiffuse.storage.weight_files import folder_weights


@dataclass(frozen=True)
class PipelineFolder(PipelineSource):
    """Configurations and weights of a pipeline's parts, each in the subfolder of its name; "" is the folder itself.

    Loading executes no code. Raises Refused, naming the part and where it goes, for one that is not there.
    """

    folder: Path

    def index(self) -> dict[str, Any]:
        """What model_index.json says, by part [library, class]."""
        return read_json(self.folder / INDEX, "the index")

    def said(self, part: str, file: str = CONFIG) -> dict[str, Any]:
        """The whole of the part's configuration."""
        self._refuse_missing(part, file)
        return read_json(self.folder / part / file, "the configuration")

    def weights(self, part: str) -> Mapping[str, Tensor]:
        """The part's weights by their names there."""
        self._refuse_missing(part, CONFIG)
        return folder_weights(self.folder / part)

    def scheduler(self) -> dict[str, Any]:
        """What the scheduler's configuration says, which has infinities at times."""
        self._refuse_missing("scheduler", SCHEDULER)
        file = self.folder / "scheduler" / SCHEDULER
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Refused(f"{file} is not JSON: {error}") from None
        if not isinstance(said, dict):
            raise Refused(f"{file} holds no JSON object")
        return said

    def has(self, part: str) -> bool:
        """Whether there is a part of this name."""
        return (self.folder / part).is_dir()

    def has_config(self) -> bool:
        """Whether the folder itself is that of a single model."""
        return (self.folder / CONFIG).is_file()

    def _refuse_missing(self, part: str, file: str) -> None:
        if not (self.folder / part / file).is_file():
            raise Refused(f"{self.folder} lacks its {part}: {self.folder / part / file} is not there; put it there")
