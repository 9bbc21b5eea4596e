"""Judges samples by all metrics that apply, each beside its floor."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from undiffuse.core import devices, registry
from undiffuse.core.errors import Refused
from undiffuse.evaluation.answers import Answer
from undiffuse.evaluation.features.choice import choose
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.metrics.cache import Cache
from undiffuse.evaluation.metrics.evidence import Evidence, Parts
from undiffuse.evaluation.metrics.metric import Metric

FEWEST = 10

Verdicts = dict[str, dict[str, Any]]


class JudgedData(Protocol):
    """What judging needs of a data set."""

    @property
    def x(self) -> Any:
        """All items, (count, *shape), in memory."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each item, or None."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a table's features; none for other data."""
        ...

    @property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """The names of each column's categories; none for other data."""
        ...


@devices.on_cpu()
def judge(
    samples: JudgedData | np.ndarray,
    held_out: JudgedData,
    train: JudgedData,
    *,
    labels: np.ndarray | None = None,
    seed: int = 0,
    features: str = "pixels",
    metrics: Sequence[str] = (),
) -> Verdicts:
    """The verdict of every metric that applies, or of those named, by name: value, floor, ratio, counts, warning ...

    samples: in the data's own units, (count, *shape); held_out, train: two parts of real data that share no item.
    labels: the classes that were asked for, (count,); None: the samples' own, if they are a data set that has some.
    features: as `features.choice.choose` reads them. The same seed gives the same verdict.
    Raises Refused where the parts do not fit together or have under 10 items, and for metrics that do not apply.
    """
    evidence = collect(samples, held_out, train, labels=labels, seed=seed, features=choose(features))
    return judge_evidence(evidence, find(metrics), bool(metrics))


def find(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, or all; raises Refused for an unknown one, with the nearest."""
    return [registry.get("metrics", name)() for name in names or registry.names("metrics")]


def judge_evidence(
    evidence: Evidence,
    metrics: Sequence[Metric] = (),
    all_asked: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
    timed: Callable[[str, float], None] = lambda name, seconds: None,
) -> Verdicts:
    """The verdicts of the metrics that apply, by name; raises Refused if one does not, where `all_asked`.

    Of predicted classes, whose samples are 1 and 0 in columns, only metrics of predictions say something, and of point
    clouds only metrics of sets, unless features are chosen that know no order; others come where they are asked for.

    timed: called with the name of each metric that applies and the seconds that it took.
    """
    metrics = metrics or find(())
    verdicts: Verdicts = {}
    of_classes = evidence.predicted is not None and evidence.predicted.found.classes and not all_asked
    of_sets = evidence.clouds and evidence.chosen.by_place and not all_asked
    for i, metric in enumerate(metrics):
        advance(i, len(metrics))
        started = time.perf_counter()
        fits = metric.texts == (evidence.reader is not None) and (metric.predictions or not of_classes)
        fits = fits and (metric.of_sets or not of_sets)
        if fits and metric.applies(evidence):
            verdicts |= metric.judge(evidence)
            timed(type(metric).__module__.rpartition(".")[2], time.perf_counter() - started)
        elif all_asked:
            raise Refused(f"the metric {registry.name_of(metric)!r} does not apply here: it needs {metric.needs}")
    advance(len(metrics), len(metrics))
    return verdicts


def collect(
    samples: JudgedData | np.ndarray,
    held_out: JudgedData,
    train: JudgedData,
    *,
    labels: np.ndarray | None = None,
    seed: int = 0,
    features: Features | None = None,
    resize: int | None = None,
    cache: Cache | None = None,
    read: Callable[[np.ndarray], str] | None = None,
    letters: bool = False,
    answers: Mapping[str, Answer] = MappingProxyType({}),
) -> Evidence:
    """The parts together; raises Refused where they do not fit.

    features: None for `pixels`; resize: the side in pixels that all images were resized to, for the record.
    read, letters, answers: see `Evidence`.
    """
    x = samples if isinstance(samples, np.ndarray) else samples.x
    if labels is not None:
        labels = np.asarray(labels)
    elif not isinstance(samples, np.ndarray):
        labels = _labels(samples, train)
    for name, part in (("samples", x), ("training items", train.x)):
        _refuse_other_kind(name, part, held_out.x)
    for name, part in (("samples", x), ("held-out items", held_out.x), ("training items", train.x)):
        if len(part) < FEWEST:
            raise Refused(f"{len(part)} {name} are too few to judge: at least {FEWEST} are needed")
    bad = int((~np.isfinite(x)).any(tuple(range(1, x.ndim))).sum())
    if bad:
        raise Refused(f"{bad} of {len(x)} samples have numbers that are NaN or infinite")
    if labels is not None:
        _refuse_labels(labels, len(x), train)
    return Evidence(
        items=Parts(np.asarray(x), np.asarray(held_out.x), np.asarray(train.x)),
        labels=labels,
        held_out_labels=_labels(held_out, train),
        train_labels=train.labels,
        classes=tuple(train.classes),
        columns=tuple(train.columns),
        categories=tuple(train.categories),
        seed=seed,
        chosen=features or choose("pixels"),
        resize=resize,
        cache=cache or Cache(),
        reader=read,
        letters=letters,
        answers=answers,
    )


def _refuse_other_kind(name: str, part: np.ndarray, real: np.ndarray) -> None:
    tokens = part.ndim == 2 and {part.dtype.kind, real.dtype.kind} <= set("iu")
    floats = {part.dtype.kind, real.dtype.kind} == {"f"}
    if part.shape[1:] == real.shape[1:] and (part.dtype == real.dtype or tokens or floats):
        return
    sizes = part.ndim == real.ndim == 4 and part.shape[2:] != real.shape[2:]
    advice = "bring both to one size with --resize N" if sizes else "give both in the data's own units"
    raise Refused(
        f"{name} of shape {part.shape[1:]}, {part.dtype} cannot be judged against held-out data of shape "
        f"{real.shape[1:]}, {real.dtype}; {advice}"
    )


def _labels(items: JudgedData, train: JudgedData) -> np.ndarray | None:
    """The items' classes, numbered as the training data's of the same names; None without any or with unknown ones."""
    if items.labels is None or not set(items.classes) <= set(train.classes):
        return None
    return np.array([train.classes.index(name) for name in items.classes])[items.labels]


def _refuse_labels(labels: np.ndarray, count: int, train: JudgedData) -> None:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise Refused(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; {count} samples need {count} integers"
        )
    if train.labels is not None and not (labels.min() >= 0 and labels.max() < len(train.classes)):
        raise Refused(f"labels go from {labels.min()} to {labels.max()}, and there are {len(train.classes)} classes")
