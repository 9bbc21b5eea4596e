"""What a run folder says of a run's quality: the metrics of its training, and evaluation.json, written and read."""

import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from undiffuse import __version__
from undiffuse.sampling.evaluation_request import Evaluated, EvaluationRequest
from undiffuse.sampling.run import Run
from undiffuse.storage.files import read_json, read_text, write_json

METRICS, EVALUATION = "metrics.jsonl", "evaluation.json"
LONGEST = 2**30  # bytes

Curve = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Recorded(Evaluated):
    """An evaluation of which evaluation.json is all that is written. about: what that says."""

    about: dict[str, Any]

    def save(self, folder: Path, run: Path) -> list[str]:
        write_json(folder / EVALUATION, self.about)
        return [EVALUATION]

    def warnings(self) -> Iterator[str]:
        """Why to be careful, for a terminal."""
        yield from (f"[yellow]take care:[/] {warning}" for warning in self.about["warnings"])


def history(run: Path) -> dict[str, Curve]:
    """Steps and values of every number that training logged; empty for a run without metrics.jsonl."""
    curves: dict[str, Curve] = {}
    path = run / METRICS
    for line in read_text(path, "metrics", LONGEST).splitlines() if path.exists() else []:
        try:
            numbers = json.loads(line)
        except ValueError:
            continue  # the last line of a process that was killed while it wrote
        for name, value in numbers.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(int(numbers["step"]))
                values.append(float(value))
    return curves


def evaluation(run: Path) -> dict[str, Any]:
    """The last evaluation of a run; empty if there was none."""
    path = run / EVALUATION
    return read_json(path, "evaluation") if path.exists() else {}


def written(
    run: Run, how: EvaluationRequest, real: Any, metrics: dict[str, Any], count: int, started: float, **detail: Any
) -> dict[str, Any]:
    """What evaluation.json says of a run that was judged so.

    real: the `sources.Real` data that it was judged on. count: items. started: by `time.perf_counter`, before the
    first was read. detail: further entries, between the step and the warnings.
    """
    return {
        "command": how.command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": how.request.seed,
        "count": count,
        "seconds": round(time.perf_counter() - started, 2),
        "against": how.against or f"held-out part of {real.held_out.name}",
        "step": run.facts.get("step"),
        **detail,
        "warnings": [real.warning] if real.warning else [],
        "metrics": metrics,
        "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
