"""All metrics at once: how good are these samples, beside how good real data would look?"""

from typing import Any, Protocol

import numpy as np

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.metrics.evidence import Evidence

FEWEST = 10


class Items(Protocol):
    """A data set, as far as judging looks at it."""

    @property
    def x(self) -> np.ndarray:
        """All items, (count, *shape)."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each item, or None."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        ...


def judge(
    samples: Items | np.ndarray, held_out: Items, train: Items, *, labels: np.ndarray | None = None, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """The verdict of every metric that applies, by name; each has a value, its floor, their ratio, counts, seed and warning.

    samples: in the data's own units, (count, *shape); held_out, train: two parts of real data that share no item.
    labels: the classes that were asked for, (count,); None: the samples' own, if they are a data set that has some.
    The same seed gives the same verdict. Raises Refused where the parts do not fit together or have fewer than 10 items.
    """
    return judge_evidence(collect(samples, held_out, train, labels=labels, seed=seed))


def judge_evidence(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """The verdict of every metric that applies, by name."""
    metrics = [registry.get("metrics", name)() for name in registry.names("metrics")]
    verdicts = [metric.judge(evidence) for metric in metrics if metric.applies(evidence)]
    return {name: verdict for found in verdicts for name, verdict in found.items()}


def collect(samples: Items | np.ndarray, held_out: Items, train: Items, *, labels: np.ndarray | None = None, seed: int = 0) -> Evidence:
    """The parts brought to one scale; raises Refused where they do not fit together."""
    x = np.asarray(getattr(samples, "x", samples))
    labels = getattr(samples, "labels", None) if labels is None else np.asarray(labels)
    for name, part in (("samples", x), ("training items", train.x)):
        if part.shape[1:] != held_out.x.shape[1:] or part.dtype != held_out.x.dtype:
            raise Refused(
                f"{name} of shape {part.shape[1:]}, {part.dtype} cannot be judged against held-out data of shape {held_out.x.shape[1:]}, "
                f"{held_out.x.dtype}; give both in the data's own units"
            )
    for name, part in (("samples", x), ("held-out items", held_out.x), ("training items", train.x)):
        if len(part) < FEWEST:
            raise Refused(f"{len(part)} {name} are too few to judge: at least {FEWEST} are needed")
    bad = int((~np.isfinite(x)).any(tuple(range(1, x.ndim))).sum())
    if bad:
        raise Refused(f"{bad} of {len(x)} samples have numbers that are NaN or infinite")
    if labels is not None:
        _refuse_labels(labels, len(x), train)
    scaled = [_scaled(part, train.x) for part in (x, held_out.x, train.x)]
    return Evidence(*scaled, labels, held_out.labels, train.labels, tuple(train.classes), train.x.ndim > 2, seed)


def _refuse_labels(labels: np.ndarray, count: int, train: Items) -> None:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise Refused(f"labels have shape {labels.shape} and dtype {labels.dtype}; {count} samples need {count} integers")
    if train.labels is not None and not (labels.min() >= 0 and labels.max() < len(train.classes)):
        raise Refused(f"labels go from {labels.min()} to {labels.max()}, and there are {len(train.classes)} classes")


def _scaled(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """x as float32 (count, dimensions): integers from their dtype's range to [-1, 1], floats by the training data's mean and deviation."""
    flat = x.reshape(len(x), -1)
    if np.issubdtype(train.dtype, np.integer):
        return flat * np.float32(2 / np.iinfo(train.dtype).max) - 1
    centre, spread = np.float32(train.mean(dtype=np.float64)), np.float32(train.std(dtype=np.float64) or 1.0)
    return (flat - centre) / spread
