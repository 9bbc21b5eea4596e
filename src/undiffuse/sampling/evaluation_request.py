"""How a run is asked to judge itself, and what comes out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from undiffuse.progress import Advance
from undiffuse.sampling.request import SampleRequest

Bar = Callable[[str, str], AbstractContextManager[Advance]]  # (title, unit) -> advance(done, total)


@contextmanager
def silent(title: str, unit: str) -> Iterator[Advance]:
    """A bar that nobody sees."""
    yield lambda done, total: None


@dataclass(frozen=True)
class EvaluationRequest:
    """How to judge a run.

    against: other data than those that the run held out. request: how a run that draws samples draws them, n = None
    for the usual number; its seed is that of the metrics, too. how: a `Judge`, None for the usual one. command: as
    typed, for evaluation.json. bar: shows how far it has come.
    """

    against: str | None = None
    request: SampleRequest = field(default_factory=SampleRequest)
    how: Any = None
    command: str = ""
    bar: Bar = field(default=silent, repr=False)


class Evaluated(ABC):
    """What came out of an evaluation."""

    @abstractmethod
    def save(self, folder: Path, run: Path) -> list[str]:
        """Write evaluation.json and what belongs to it into a folder; returns the names of the files."""

    @abstractmethod
    def printed(self) -> Iterator[Any]:
        """What a terminal shows: texts and tables of rich."""
