"""Pairs of shares that rest on balls around real items, each reaching to its k-th neighbour."""

from collections.abc import Callable
from typing import Any

import numpy as np

from undiffuse.evaluation.metrics.distances import radii
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import verdict

MOST = 5000

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, float]]  # (real, squared radii, samples)


def in_balls(
    evidence: Evidence, neighbours: int, measure: Measure, names: tuple[str, str]
) -> dict[str, dict[str, Any]]:
    """The verdicts on two shares, by name: of samples against held-out data; floor: of as many training items."""
    found = []
    for draw in evidence.draws(evidence.vectors, MOST, total=20_000):
        balls = radii(draw.held_out, neighbours)
        found.append([measure(draw.held_out, balls, part) for part in (draw.samples, draw.train)])
    shares = np.array(found)  # (draws, samples or train, first or second share)
    warning = evidence.few(1000, f"the balls are wide, so that {' and '.join(names)} move little")
    common = {"better": "higher", "count": min(evidence.count, MOST), "seed": evidence.seed, "warning": warning}
    detail = {"neighbours": neighbours, **evidence.about}
    return {name: verdict(shares[:, 0, i], shares[:, 1, i], **common, **detail) for i, name in enumerate(names)}
