"""The interface of what a pipeline is read from: its parts' configurations and weights, as diffusers names them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

INDEX, CONFIG, SCHEDULER = "model_index.json", "config.json", "scheduler_config.json"


class PipelineSource(ABC):
    """Configurations and weights of a pipeline's parts by their names; "" is a model that stands alone.

    folder: where parts lie that a source does not hold itself. Raises Refused, naming the part and where it goes, for
    one that is not there.
    """

    folder: Path

    @abstractmethod
    def index(self) -> dict[str, Any]:
        """What model_index.json says, by part [library, class]."""

    @abstractmethod
    def said(self, part: str, file: str = CONFIG) -> dict[str, Any]:
        """The whole of the part's configuration."""

    @abstractmethod
    def weights(self, part: str) -> Mapping[str, Tensor]:
        """The part's weights by their names there."""

    @abstractmethod
    def scheduler(self) -> dict[str, Any]:
        """What the scheduler's configuration says, which has infinities at times."""

    @abstractmethod
    def has(self, part: str) -> bool:
        """Whether there is a part of this name."""

    @abstractmethod
    def has_config(self) -> bool:
        """Whether this is a model that stands alone."""

    def config(self, part: str, file: str = CONFIG) -> dict[str, Any]:
        """What the part's configuration says, without the fields that say nothing of the part itself."""
        return {name: value for name, value in self.said(part, file).items() if not name.startswith("_")}
