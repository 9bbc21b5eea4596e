"""Settings of an evaluation: features, metrics, size of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from undiffuse.codecs.text import TextCodec
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.images.resize import Resize
from undiffuse.evaluation.answers import Answer
from undiffuse.evaluation.features.choice import choose
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.metrics.cache import Cache, usual
from undiffuse.evaluation.metrics.evidence import Parts
from undiffuse.evaluation.metrics.judge import Verdicts, collect, find, judge_evidence
from undiffuse.evaluation.metrics.predictive import Predicted
from undiffuse.evaluation.sources import Real
from undiffuse.progress import Advance
from undiffuse.storage.notes import CLOUD, VIDEO

MOST_ITEMS, MOST_NUMBERS = 100_000, 2**28  # of one part: what is judged is held in memory, as 4 bytes a number
SIDES = (8, 2048)
NLL = "nll"  # asked for like a metric, but of a run and its data: no samples are compared


@dataclass(frozen=True)
class Judged:
    """The verdicts by metric, what was compared (after any resize), facts for evaluation.json and words of caution."""

    verdicts: Verdicts
    items: Parts
    about: dict[str, Any]
    warnings: list[str]


@dataclass(frozen=True)
class Judge:
    """features: as `features.choice.choose` takes them; metrics: their names, () for all that apply.

    resize: bring images to so many pixels a side before, bicubic and antialiased; None: leave them. cached: keep what
    is costly about the real data for the next time.
    Raises Refused for names that do not exist and a size out of reason, before anything is drawn.
    """

    features: str | Features = "pixels"
    metrics: tuple[str, ...] = ()
    resize: int | None = None
    cached: bool = True

    def __post_init__(self) -> None:
        _ = choose(self.features).about  # also asks whether what they need is installed
        find(self.compared)
        if self.resize is not None and not SIDES[0] <= self.resize <= SIDES[1]:
            raise Refused(f"--resize {self.resize}: images can be brought to {SIDES[0]} ... {SIDES[1]} pixels a side")

    def wants(self, metric: str) -> bool:
        """Whether this metric is to be computed."""
        return not self.metrics or metric in self.metrics

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that compare samples with data."""
        return tuple(name for name in self.metrics if name != NLL)

    def fitting(self, data: Dataset) -> "Judge":
        """As asked for; of tokens the likelihood, and of texts what compares them. Raises Refused for other metrics."""
        if not data.vocabulary:
            return self
        able = [name for name, metric in zip(registry.names("metrics"), find(()), strict=True) if metric.texts]
        able = able if data.spelling else []
        wrong = next((name for name in self.compared if name not in able), None)
        if wrong is not None:
            kind = "texts" if data.spelling else "tokens"
            raise Refused(f"the metric {wrong} compares values; for {kind} there is: {', '.join([*able, NLL])}")
        return replace(self, metrics=self.metrics if self.compared else (*able, NLL))

    def __call__(
        self,
        samples: Dataset | np.ndarray,
        real: Real,
        seed: int = 0,
        labels: np.ndarray | None = None,
        advance: Advance = lambda done, total: None,
        predicted: Predicted | None = None,
        answers: Mapping[str, Answer] = MappingProxyType({}),
        captions: tuple[str, Sequence[str]] = ("", ()),
    ) -> Judged:
        """Judge samples, a data set or an array with the labels that were asked for, against the real parts, and what
        was predicted of held-out items.

        answers: of a run that completes items, see `Evidence`. captions: the name of the condition that is a caption,
        and those that the samples were asked for by.
        """
        kept = usual() if self.cached else Cache()
        parts = [self._seen(real.held_out), self._seen(real.train)]
        x = self._seen(samples) if isinstance(samples, Dataset) else self._resized(samples)
        spelled = TextCodec(real.train.vocabulary, **real.train.spelling) if real.train.spelling else None
        read, letters = (spelled.text_of, spelled.letters) if spelled else (None, False)
        evidence = collect(
            x,
            *parts,
            labels=labels,
            seed=seed,
            features=choose(self.features),
            resize=self.resize,
            cache=kept,
            read=read,
            letters=letters,
            answers=answers,
        )
        evidence = replace(evidence, predicted=predicted, clouds=CLOUD in real.train.notes)
        evidence = replace(evidence, videos=VIDEO in real.train.notes)
        if captions[0] in parts[0].conditions:
            evidence = replace(evidence, captions=(captions[1], np.asarray(parts[0].conditions[captions[0]]).tolist()))
        wanted = find(self.compared) if self.metrics != (NLL,) else []
        seconds: dict[str, float] = {}
        timed = seconds.__setitem__
        verdicts = judge_evidence(evidence, wanted, bool(self.metrics), advance, timed) if wanted else {}
        left = [
            f"{len(seen):,} of {len(part):,} {name} were looked at"
            for name, seen, part in zip(
                ("held-out items", "training items"), parts, (real.held_out, real.train), strict=True
            )
            if len(seen) < len(part)
        ]
        warnings = [*left, *([kept.problem] if kept.problem else [])]
        about = {
            "features": evidence.chosen.limited(evidence.count).about,
            "resize": self.resize,
            "resize_filter": self._filter(),
            "seconds_by_metric": {name: round(took, 2) for name, took in seconds.items()},
        }
        return Judged(verdicts, evidence.items, about, warnings)

    def _seen(self, data: Dataset) -> Dataset:
        """As much of the data as fits, in memory, resized."""
        each = int(np.prod(data.shape))
        data = data.some(max(1000, min(MOST_ITEMS, MOST_NUMBERS // each)))
        return data if self.resize is None else replace(data, x=self._resized(np.asarray(data.x)))

    def _resized(self, x: np.ndarray) -> np.ndarray:
        if self.resize is None:
            return x
        if x.ndim != 4:
            raise Refused(f"--resize {self.resize} is for images, and the items have shape {x.shape[1:]}")
        by = Resize(self.resize, fit="stretch")
        return np.stack([by.apply(item) for item in x])

    def _filter(self) -> str | None:
        return None if self.resize is None else "bicubic, antialiased"
