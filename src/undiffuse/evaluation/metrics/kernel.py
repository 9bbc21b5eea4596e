"""Kernel distance: a two-sample statistic whose mean is zero for equal laws at any count."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict


@dataclass(frozen=True)
class Kernel(Metric):
    """The unbiased MMD^2 with the kernel (<x, y> / features + 1)^3, on features scaled to a mean variance of 1.

    With the features `inception`, in their own scale, it is KID. Its floor is about 0 of either sign, so there is no
    ratio: compare the value with its standard error. Source: arXiv:1801.01401, sec. 4.
    """

    aliases: ClassVar[tuple[str, ...]] = ("kid", "mmd")
    needs: ClassVar[str] = "nothing"

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """`kernel`: samples to held-out data, in detail with the standard errors of the value and the floor."""
        vectors = evidence.vectors
        scale = 1.0 if evidence.features.natural else float(np.sqrt(vectors.train.var(0).mean())) or 1.0
        found = []
        for draw in evidence.draws(vectors, most=10_000, total=4_000):
            samples, held_out, train = (part / scale for part in draw)
            found.append(
                (
                    *kernel_distance(samples, held_out, seed=evidence.seed),
                    *kernel_distance(train, held_out, seed=evidence.seed),
                )
            )
        values, errors, floors, floor_errors = np.array(found).T
        judged = verdict(
            values,
            floors,
            better="lower",
            count=min(evidence.count, 10_000),
            seed=evidence.seed,
            **evidence.about,
            standard_error=float(errors.mean()),
            floor_standard_error=float(floor_errors.mean()),
        )
        return {"kernel": judged | {"ratio": None}}


def kernel_distance(
    x: np.ndarray, y: np.ndarray, *, subsets: int = 20, size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """MMD^2 between x and y, (count, features) each, and its standard error.

    The mean over random subsets of `size` items (None: half of the smaller side, at most 1000) is unbiased. The error
    follows from the deviation d between subsets, as in a jackknife: d sqrt(size / (count - size) + 1 / subsets). Where
    both laws are equal it is about twice too large.
    """
    count = min(len(x), len(y))
    size = min(1000, count // 2) if size is None else size
    random = np.random.Generator(np.random.Philox(seed))
    found = [
        mmd_squared(x[random.choice(len(x), size, replace=False)], y[random.choice(len(y), size, replace=False)])
        for _ in range(subsets)
    ]
    spread = float(np.std(found, ddof=1)) if subsets > 1 else float("nan")
    return float(np.mean(found)), spread * float(np.sqrt(size / max(1, count - size) + 1 / subsets))


def mmd_squared(x: np.ndarray, y: np.ndarray) -> float:
    """E k(x, x') + E k(y, y') - 2 E k(x, y) over pairs of different items: unbiased, so it may be negative."""
    within = (_kernel(z, z) for z in (x, y))
    own = sum((k.sum(dtype=np.float64) - np.trace(k, dtype=np.float64)) / (len(k) * (len(k) - 1)) for k in within)
    return float(own - 2 * _kernel(x, y).mean(dtype=np.float64))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    cube = base * base
    cube *= base
    return cube
