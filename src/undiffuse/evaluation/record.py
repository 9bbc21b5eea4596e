"""Reads the metrics of a run folder: those of its training and of its last evaluation."""

import json
import math
from pathlib import Path
from typing import Any

from undiffuse.storage.files import read_json, read_text

METRICS, EVALUATION = "metrics.jsonl", "evaluation.json"
LONGEST = 2**30  # bytes

Curve = tuple[list[int], list[float]]


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
