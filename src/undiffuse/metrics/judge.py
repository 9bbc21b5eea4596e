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
    """The verdict of every metric that applies, by name: value, floor, their ratio, counts, seed and warning.

    samples: in the data's own units, (count, *shape); held_out, train: two parts of real data that share no item.
    labels: the classes that were asked for, (count,); None: the samples' own, if they are a data set that has some.
    The same seed gives the same verdict. Raises Refused where the parts do not fit together or have under 10 items.
    """
    return judge_evidence(collect(samples, held_out, train, labels=labels, seed=seed))


def judge_evidence(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """The verdict of every metric that applies, by name."""
    metrics = [registry.get("metrics", name)() for name in registry.names("metrics")]
    verdicts = [metric.judge(evidence) for metric in metrics if metric.applies(evidence)]
    return {name: verdict for found in verdicts for name, verdict in found.items()}


def collect(
    samples: Items | np.ndarray, held_out: Items, train: Items, *, labels: np.ndarray | None = None, seed: int = 0
) -> Evidence:
    """The parts brought to one scale; raises Refused where they do not fit together."""
    x = samples if isinstance(samples, np.ndarray) else samples.x
    if labels is not None:
        labels = np.asarray(labels)
    elif not isinstance(samples, np.ndarray):
        labels = _labels(samples, train)
    for name, part in (("samples", x), ("training items", train.x)):
        if part.shape[1:] != held_out.x.shape[1:] or part.dtype != held_out.x.dtype:
            raise Refused(
                f"{name} of shape {part.shape[1:]}, {part.dtype} cannot be judged against held-out data of shape "
                f"{held_out.x.shape[1:]}, {held_out.x.dtype}; give both in the data's own units"
            )
    for name, part in (("samples", x), ("held-out items", held_out.x), ("training items", train.x)):
        if len(part) < FEWEST:
            raise Refused(f"{len(part)} {name} are too few to judge: at least {FEWEST} are needed")
    bad = int((~np.isfinite(x)).any(tuple(range(1, x.ndim))).sum())
    if bad:
        raise Refused(f"{bad} of {len(x)} samples have numbers that are NaN or infinite")
    if labels is not None:
        _refuse_labels(labels, len(x), train)
    return Evidence(
        samples=_scaled(x, train.x),
        held_out=_scaled(held_out.x, train.x),
        train=_scaled(train.x, train.x),
        labels=labels,
        held_out_labels=_labels(held_out, train),
        train_labels=train.labels,
        classes=tuple(train.classes),
        is_image=train.x.ndim > 2,
        seed=seed,
    )


def _labels(items: Items, train: Items) -> np.ndarray | None:
    """The items' classes, numbered as the training data's of the same names; None without any or with unknown ones."""
    if items.labels is None or not set(items.classes) <= set(train.classes):
        return None
    return np.array([train.classes.index(name) for name in items.classes])[items.labels]


def _refuse_labels(labels: np.ndarray, count: int, train: Items) -> None:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise Refused(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; {count} samples need {count} integers"
        )
    if train.labels is not None and not (labels.min() >= 0 and labels.max() < len(train.classes)):
        raise Refused(f"labels go from {labels.min()} to {labels.max()}, and there are {len(train.classes)} classes")


def _scaled(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """x as float32 (count, dimensions): integers in [-1, 1], floats by train's moments."""
    flat = x.reshape(len(x), -1)
    if np.issubdtype(train.dtype, np.integer):
        return flat * np.float32(2 / np.iinfo(train.dtype).max) - 1
    over = None if train.ndim > 2 else 0  # all pixels are of one kind, the features of points need not be
    centre, spread = train.mean(over, dtype=np.float64), train.std(over, dtype=np.float64)
    return ((flat - centre) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
