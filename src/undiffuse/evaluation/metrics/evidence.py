"""What metrics look at: samples, held-out and training data in the same units, and fair draws from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from undiffuse.evaluation.answers import Answer
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.features.scale import moments, scaled
from undiffuse.evaluation.metrics.cache import Cache, digest
from undiffuse.evaluation.metrics.classifier import Reader, train_classifier

MOST_READ = 15_000  # items that the classifier learns from
USUAL_DIMENSIONS = 64
DRAWS = 20  # random subsets of the items, over which a figure is averaged


class Parts(NamedTuple):
    """Samples, held-out items and training items, in one form or another, (count, ...) each."""

    samples: np.ndarray
    held_out: np.ndarray
    train: np.ndarray


class Texts(NamedTuple):
    """The same parts as texts."""

    samples: list[str]
    held_out: list[str]
    train: list[str]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Samples and two real parts in the data's own units. The real parts must share no item, or a floor is none.

    labels: the classes that the samples were asked for. columns: the names of a table's features. resize: what all
    parts were brought to before. cache: keeps what is costly about the real parts. reader: makes a text of the tokens
    of an item; None: the items are values. letters: whether a token is one character or byte of the text. categories:
    of each column of a table the names of its categories, () of numbers; nothing where no column has any. predicted:
    the predictions of held-out items, `Predicted`, of a run that makes some. answers: what the model draws where
    numbers of held-out items are hidden, by the question. clouds: the items are point clouds, (3, points). videos: they
    are videos, (channels, frames, height, width). captions:
    of the samples and of the held-out items; () where they have none.
    """

    items: Parts
    labels: np.ndarray | None
    held_out_labels: np.ndarray | None
    train_labels: np.ndarray | None
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    seed: int
    chosen: Features
    resize: int | None = None
    cache: Cache = field(default_factory=Cache)
    reader: Callable[[np.ndarray], str] | None = None
    letters: bool = False
    categories: tuple[tuple[str, ...], ...] = ()
    predicted: Any = None
    answers: Mapping[str, Answer] = field(default_factory=dict)
    clouds: bool = False
    videos: bool = False
    captions: tuple[Sequence[str], Sequence[str]] = ((), ())

    @property
    def is_image(self) -> bool:
        """Whether the items are images, sequences or volumes, not points."""
        return self.items.train.ndim > 2

    @property
    def count(self) -> int:
        """How many items a side every comparison has: as many as the smallest part that is compared."""
        return min(len(self.items.samples), len(self.items.held_out), len(self._halves[1]))

    def random(self, *stream: int) -> np.random.Generator:
        """The stream of random numbers with this address, which depends on it and the seed alone."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, *stream])))

    @cached_property
    def texts(self) -> "Texts":
        """The items as texts."""
        assert self.reader is not None, "a metric asks for texts only where there are some"
        return Texts(*(list(map(self.reader, part)) for part in self.items))

    @cached_property
    def coordinates(self) -> Parts:
        """All numbers of the items as float32 (count, dimensions): integers in [-1, 1], floats of about unit scale.

        A category has 1/sqrt(2) in a column of its own, so that two that differ are at the distance 1.
        """
        by = moments(self.items.train)
        return Parts(*(self._spread(scaled(part, by), part) for part in self.items))

    def _spread(self, x: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Scaled items x with a column for each category in place of its number."""
        if not self.categories:
            return x
        of = [items[:, i, None] == np.arange(len(names)) for i, names in enumerate(self.categories) if names]
        numbers = x[:, [not names for names in self.categories]]
        return np.concatenate([numbers, *(each * np.float32(0.5**0.5) for each in of)], axis=1)

    @cached_property
    def key(self) -> dict[str, str]:
        """What the real parts are, for the cache."""
        return {"held_out": digest(self.items.held_out), "train": digest(self.items.train)}

    @cached_property
    def features(self) -> Features:
        """The features, fitted to training items."""
        return self._real[0]

    @cached_property
    def vectors(self) -> Parts:
        """The items in the features, float32 (count, dimensions); without the training items that the features learnt
        from, which would make a floor that new data cannot reach.
        """
        features, held_out, train = self._real
        return Parts(features(self._looked_at.samples), held_out, train)

    @property
    def _looked_at(self) -> Parts:
        """What features are computed from: the items, with categories as coordinates where there are any."""
        return self.coordinates if self.categories else self.items

    @cached_property
    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        """The training items that features learn from, and those that are compared; all are both where none learn."""
        everything = np.arange(len(self.items.train))
        if not self.chosen.learns:
            return everything, everything
        order = np.random.Generator(np.random.Philox(0)).permutation(everything)
        return np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])

    @cached_property
    def _real(self) -> tuple[Features, np.ndarray, np.ndarray]:
        limited = self.chosen.limited(self.count)

        def make() -> dict[str, np.ndarray]:
            seen, (learnt, compared) = self._looked_at, self._halves
            fitted = limited.fit(seen.train[learnt])
            vectors = {"held_out": fitted(seen.held_out), "train": fitted(seen.train[compared])}
            return {f"fitted.{name}": array for name, array in fitted.fitted.items()} | vectors

        about = {"what": "features", **limited.about, **self.key}
        about |= {"categories": [len(names) for names in self.categories]} if self.categories else {}
        kept = self.cache.arrays(about, make)
        fitted = {name.removeprefix("fitted."): array for name, array in kept.items() if name.startswith("fitted.")}
        return replace(limited, fitted=fitted), kept["held_out"], kept["train"]  # pyright: ignore[reportArgumentType] - all are dataclasses

    @cached_property
    def probabilities(self) -> Parts | None:
        """The class probabilities of each item by the features' network; None for features without classes."""
        found = [self.features.probabilities(part) for part in self.vectors]
        return None if any(part is None for part in found) else Parts(*found)  # pyright: ignore[reportArgumentType]

    @cached_property
    def classifier(self) -> Reader:
        """Reads the class of an item from its coordinates; fitted to the training data."""
        labels = self.train_labels
        assert labels is not None, "a metric asks for the classifier only where there are labels"
        chosen = np.arange(len(labels))
        if len(chosen) > MOST_READ:
            chosen = np.sort(self.random(1).choice(len(chosen), MOST_READ, replace=False))
        key = {"what": "classifier", "version": 1, "seed": self.seed, "train": self.key["train"]}
        return Reader(
            self.cache.arrays(
                {**key, "labels": digest(labels)},
                lambda: dict(train_classifier(self.coordinates.train[chosen], labels[chosen]).arrays),
            )
        )

    @cached_property
    def read(self) -> np.ndarray:
        """The class that the classifier reads in each sample, (count,)."""
        return self.classifier(self.coordinates.samples)

    @cached_property
    def read_held_out(self) -> np.ndarray:
        """The class that the classifier reads in each held-out item, (count,)."""
        return self.classifier(self.coordinates.held_out)

    def draws(self, parts: Parts, most: int = 50_000, total: int = 200_000) -> Iterator[Parts]:
        """Repeated random subsets of these parts: equally many items of each, none twice; float64 up to 64 dimensions.

        A single draw tells as much about its own luck as about the samples: 2 to DRAWS draws of at most `most` items,
        about `total` in all, are averaged; fewer, but one at least, where there are more than 64 dimensions. Where no
        part has more than `count` items there is one draw, of all.
        """
        count, dimensions = min(self.count, most), parts.train.shape[1]
        whole = all(len(part) == count for part in parts)
        few, dtype = (2, np.float64) if dimensions <= USUAL_DIMENSIONS else (1, np.float32)
        work = count * max(1, dimensions / USUAL_DIMENSIONS)
        for repeat in range(1 if whole else int(np.clip(total // work, few, DRAWS))):
            random = self.random(2, repeat)
            yield Parts(*(part[random.permutation(len(part))[:count]].astype(dtype) for part in parts))

    def few(self, enough: int, why: str) -> str:
        """A warning where the count is below `enough`."""
        return f"{self.count:,} items a side are few: {why}" if self.count < enough else ""

    @property
    def enough(self) -> int:
        """How many items a side a covariance of the features needs: 5 for each dimension, and 1000 at least."""
        return max(1000, 5 * self.vectors.train.shape[1])

    @property
    def about(self) -> dict[str, Any]:
        """The features and the resize, for a verdict's detail."""
        return {**self.features.about, "dimensions": self.vectors.train.shape[1], "resize": self.resize}
