"""What `undiffuse compare` does with autoencoders: the same items through each, one number a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undiffuse.evaluation import sources, wording
from undiffuse.evaluation.compare import names_of, refuse_other_shapes, unlike
from undiffuse.evaluation.reconstruction import Reconstructed, judge_reconstruction
from undiffuse.evaluation.scores import NAMES
from undiffuse.sampling.evaluation_request import EvaluationRequest


@dataclass(frozen=True)
class Row:
    """One number of every run, None where a run has none. floor: what it is held against; better: "lower", "higher" or
    "" for neither. best: the places of the best runs.
    """

    title: str
    values: list[float | None]
    better: str = ""
    floor: float | None = None

    @property
    def best(self) -> set[int]:
        known = [value for value in self.values if value is not None]
        if not self.better or len(known) < 2:
            return set()
        top = min(known) if self.better == "lower" else max(known)
        return {i for i, value in enumerate(self.values) if value == top}


@dataclass(frozen=True)
class ReconstructionComparison:
    """The evaluations of all runs in the order they were named, all on the same items, and what to be careful about."""

    names: list[str]
    paths: list[Path]
    runs: list[Reconstructed]
    warnings: list[str]

    @property
    def about(self) -> dict[str, Any]:
        """How they were judged."""
        return self.runs[0].about

    @property
    def rows(self) -> list[Row]:
        """The numbers, those of quality first."""
        known = dict.fromkeys(name for run in self.runs for name in run.verdicts)
        return [
            *(self._verdict(name) for name in known),
            *(
                self._likelihood(name)
                for name in NAMES
                if any(run.scores and name in _summary(run) for run in self.runs)
            ),
            Row("Rate, bits an item", [_bits(run) for run in self.runs]),
            Row("Latents of an item", [run.statistics.units for run in self.runs]),
            Row("of them active", [run.statistics.active for run in self.runs]),
            Row("Parameters", [run.model.describe()["parameters"] for run in self.runs]),
            Row("Training steps", [run.model.facts.get("step", 0) for run in self.runs]),
        ]

    def content(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        of = zip(self.names, self.paths, self.runs, strict=True)
        runs = {name: {"path": str(path), **run.content()} for name, path, run in of}
        best = {row.title: [self.names[i] for i in sorted(row.best)] for row in self.rows if row.better}
        return {**self.about, "warnings": self.warnings, "best": best, "runs": runs}

    def _verdict(self, name: str) -> Row:
        found = [run.verdicts.get(name) for run in self.runs]
        first = next(each for each in found if each is not None)
        values = [None if each is None else each["value"] for each in found]
        return Row(wording.title(name, first), values, first["better"], first["floor"])

    def _likelihood(self, name: str) -> Row:
        values = [_summary(run).get(name, {}).get("bits_per_dim") for run in self.runs]
        return Row(f"Bits per dimension ({NAMES[name]})", values, "lower")


def compare_reconstructions(
    paths: Sequence[Path], models: Sequence[Any], asked: EvaluationRequest
) -> ReconstructionComparison:
    """Judge every autoencoder as `evaluate` does, on what the first one held out, or on other data.

    models: those in these run folders. Raises Refused as `compare` does.
    """
    names = names_of(paths)
    refuse_other_shapes(names, models)
    real = sources.against(models[0], asked.against)
    runs = [judge_reconstruction(model, model.prior, asked, real) for model in models]
    careful = [*unlike(names, models), *(why for run in runs for why in run.warnings)]
    return ReconstructionComparison(names, list(paths), runs, list(dict.fromkeys(careful)))


def _summary(run: Reconstructed) -> dict[str, Any]:
    return {} if run.scores is None else run.scores.summary()


def _bits(run: Reconstructed) -> float | None:
    return run.codebook.bits if run.codebook is not None else run.statistics.bits
