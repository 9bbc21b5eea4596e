"""What metrics look at: samples, held-out and training data in the same units, and fair draws from them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from undiffuse.metrics.classifier import Classifier, train_classifier
from undiffuse.metrics.components import Projection, fit_projection

MOST_COMPONENTS = 64
ITEMS_PER_COMPONENT = 10
MOST_FITTED = 20_000


class Draw(NamedTuple):
    """Equal numbers of items from each part, (count, components)."""

    samples: np.ndarray
    held_out: np.ndarray
    train: np.ndarray


@dataclass(frozen=True, eq=False)
class Evidence:
    """Samples and two real parts as float32 (count, dimensions): pixels in [-1, 1], other numbers of about unit scale.

    labels: the classes that the samples were asked for. The real parts must share no item, or a floor is none.
    """

    samples: np.ndarray
    held_out: np.ndarray
    train: np.ndarray
    labels: np.ndarray | None
    held_out_labels: np.ndarray | None
    train_labels: np.ndarray | None
    classes: tuple[str, ...]
    is_image: bool
    seed: int

    @property
    def count(self) -> int:
        """How many items a side every comparison has: as many as the smallest part."""
        return min(len(self.samples), len(self.held_out), len(self.train))

    def random(self, *stream: int) -> np.random.Generator:
        """The stream of random numbers with this address, the same in every run with this seed."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, *stream])))

    @cached_property
    def projection(self) -> Projection:
        """The features `pixels`: principal components of the training data, min(64, count / 10) of them.

        So every covariance that is estimated later rests on ten times as many items as it has rows. The held-out items
        and the samples have no part in the fit, and are therefore on a par.
        """
        components = max(1, min(MOST_COMPONENTS, self.count // ITEMS_PER_COMPONENT))
        return fit_projection(self._fitted(MOST_FITTED)[0], components)

    @cached_property
    def classifier(self) -> Classifier:
        """Reads the class of an item; fitted to the training data."""
        rows, chosen = self._fitted(15_000)
        assert self.train_labels is not None, "a metric asks for the classifier only where there are labels"
        return train_classifier(rows, self.train_labels[chosen])

    @cached_property
    def read(self) -> np.ndarray:
        """The class that the classifier reads in each sample, (count,)."""
        return self.classifier(self.samples)

    @cached_property
    def read_held_out(self) -> np.ndarray:
        """The class that the classifier reads in each held-out item, (count,)."""
        return self.classifier(self.held_out)

    def _fitted(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.arange(len(self.train))
        if len(chosen) > most:
            chosen = np.sort(self.random(1).choice(len(chosen), most, replace=False))
        return self.train[chosen], chosen

    def draws(
        self, most: int = 50_000, total: int = 200_000, features: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> Iterator[Draw]:
        """Repeated random subsets in the features (None: `projection`): equally many items of each part, none twice.

        A single draw tells as much about its own luck as about the samples: 2 to 20 draws of at most `most` items,
        about `total` in all, are averaged. Where no part has more than `count` items there is one draw, of all.
        """
        count = min(self.count, most)
        parts = [(features or self.projection)(part) for part in (self.samples, self.held_out, self.train)]
        whole = all(len(part) == count for part in parts)
        for repeat in range(1 if whole else int(np.clip(total // count, 2, 20))):
            random = self.random(2, repeat)
            yield Draw(*(part[random.permutation(len(part))[:count]] for part in parts))

    def few(self, enough: int, why: str) -> str:
        """A warning where the count stays below `enough`."""
        return f"{self.count} items a side are few: {why}" if self.count < enough else ""

    @property
    def features(self) -> dict[str, Any]:
        """What the features are, for a verdict's detail."""
        return {"features": "pixels", "components": self.projection.components, "explained": self.projection.explained}
