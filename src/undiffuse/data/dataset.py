"""Items with their conditions, in memory or mapped: what training learns from and judging compares with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Self

import numpy as np

from undiffuse.codecs.text import TextCodec
from undiffuse.core.errors import Refused
from undiffuse.data.rows import Items, chunk, mapped, taken
from undiffuse.data.survey import Survey, survey
from undiffuse.storage.notes import SOUND, VIDEO

KINDS = {2: "points", 3: "sequences", 4: "images", 5: "volumes"}
FEWEST = 10  # items that are held out, of small sets too
LONG = {VIDEO: "frames", SOUND: "length"}  # the field of data that says how long an item is
MISSING = "missing"  # among the conditions: booleans (count, *shape), where x holds something in a number's place
TOKENS = (np.uint8, np.uint16, np.int64)
FLOATS = (np.float32, np.float64)
SHAPES = (
    "points are (count, features), tokens (count, length), sequences (count, channels, length), "
    "images (count, channels, height, width), volumes (count, channels, depth, height, width)"
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Points (count, features) as float32 or float64, tokens (count, length) as uint8, uint16 or int64, or sequences
    (count, channels, length), images (count, channels, height, width) or volumes (count, channels, depth, height,
    width) as uint8, uint16, int16, float32 or float64. Numbers are float64 where float32 would change them.

    x: an array, or MappedRows of one that stays on the disk. conditions: arrays with one row an item; `label` counts
    classes from 0, and `classes` names them. columns: the features' names, of a table, and categories: of each of them
    the names of its categories, which its numbers count from 0; () of a column of numbers. notes: what `describe` adds,
    such as how many broken files were left out. names: what the items are called where they come from; a part of them
    has none. vocabulary: how many symbols tokens have; 0 for all else. spelling: of a text, the fields of the codec
    `text` that say what its tokens stand for. drawn: the items are independent draws of a known law, so that equal ones
    are no copies. together: so many neighbouring items are held out together, or learned from; groups: (count,), so are
    those of one number, such as the pieces of a file. beside: (count,) booleans, items that are only learned from, such
    as images beside videos: none is held out, or compared with. overlap: the items stand in the order of time, and each
    shares numbers with so many before it: the last ones are held out.
    Raises Refused for no items, other shapes or dtypes, numbers that are not finite, tokens outside the vocabulary and
    conditions of another length.
    """

    x: Items
    conditions: dict[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    name: str = "data"
    columns: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    names: Sequence[str] = field(default=(), repr=False)
    vocabulary: int = 0
    spelling: Mapping[str, Any] = field(default_factory=dict, repr=False)
    drawn: bool = False
    together: int = 1
    groups: np.ndarray | None = field(default=None, repr=False)
    beside: np.ndarray | None = field(default=None, repr=False)
    overlap: int = 0
    categories: tuple[tuple[str, ...], ...] = ()
    known: Survey | None = field(default=None, repr=False)  # what is known of the items x, and of no others

    def __post_init__(self) -> None:
        if len(self.x) == 0:
            raise Refused(f"{self.name} has no items")
        if self.x.ndim not in KINDS or 0 in self.x.shape:
            raise Refused(f"{self.name} has shape {self.x.shape}; {SHAPES}")
        if self.x.dtype not in self._dtypes():
            raise Refused(
                f"{self.name} has dtype {self.x.dtype}; points are float32 or float64, tokens integers with a "
                "vocabulary, all else is uint8, uint16, int16, float32 or float64"
            )
        if self.vocabulary:
            self._inside()
        if self.columns and (self.x.ndim != 2 or len(self.columns) != self.x.shape[1]):
            raise Refused(f"{self.name} has {len(self.columns)} names of columns and items of shape {self.shape}")
        if self.categories:
            self._counted()
        for key, values in self.conditions.items():
            if len(values) != len(self.x):
                raise Refused(f"{self.name} has {len(self.x)} items and {len(values)} values of {key!r}")
        labels = self.conditions.get("label")
        if labels is not None and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise Refused(f"{self.name} has labels {labels.min()}..{labels.max()} and {len(self.classes)} classes")
        if self.x.dtype in FLOATS:
            self.survey()  # refuses what is not finite

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one item."""
        return self.x.shape[1:]

    @property
    def is_image(self) -> bool:
        """Whether an item has channels, height and width."""
        return self.x.ndim == 4

    @property
    def kind(self) -> str:
        """points, tokens, sequences, images, volumes or videos."""
        return "tokens" if self.vocabulary else "videos" if VIDEO in self.notes else KINDS[self.x.ndim]

    @property
    def labels(self) -> np.ndarray | None:
        """The class of each item, (count,), or None."""
        return self.conditions.get("label")

    def survey(self) -> Survey:
        """Hash, least and greatest number of each item; read once, kept, and handed on by `take` and `split`."""
        if self.known is None or self.known.x is not self.x:
            object.__setattr__(self, "known", survey(self.x, self.name))
        assert self.known is not None
        return self.known

    def take(self, indices: np.ndarray) -> Self:
        """The items at these indices (or where this mask is true), with their conditions; mapped ones stay mapped."""
        conditions = {key: values[indices] for key, values in self.conditions.items()}
        return self._with(taken(self.x, indices), indices, conditions)

    def some(self, most: int, seed: int = 0) -> Self:
        """At most so many items, in memory: all if they are few, else a choice that the seed fixes, in their order."""
        if len(self) <= most:
            whole = isinstance(self.x, np.ndarray) and not mapped(self.x)
            return self if whole else self._with(np.asarray(self.x), np.arange(len(self)), self.conditions)
        random = np.random.Generator(np.random.Philox(seed))
        indices = np.sort(random.choice(len(self), most, replace=False))
        conditions = {key: values[indices] for key, values in self.conditions.items()}
        return self._with(np.asarray(taken(self.x, indices)), indices, conditions)

    def split(self, held_out: float = 0.2) -> tuple[Self, Self]:
        """Training part and held-out part; an item's bytes alone decide where it goes.

        held out if blake2b(bytes) / 2^64 < held_out: the share is met on average, equal items stay together, and
        neither the order of the items nor new ones move an old one. At least FEWEST are held out, of fewer than 3
        FEWEST items a third: those of the least hashes. An item stays where it is learned from if its class had no
        other there. Of items that are `drawn` the place decides: equal ones may be on both sides; of those that stand
        `together`, or are of one of `groups`, the first one's bytes; of those that `overlap` the last are held out, and
        those that share numbers with them are in neither part.
        Raises Refused for a share that is not between 0 and 1 and for fewer than two different items.
        """
        if not 0 < held_out < 1:
            raise Refused(f"held_out = {held_out} is not a share between 0 and 1; 0.2 holds out every fifth item")
        if self.beside is not None:
            learned, held = self.compared().split(held_out)
            return learned.with_beside(self.take(self.beside)), held
        if self.overlap:
            return self._in_time(held_out)
        if len(self) == 1:
            raise Refused(
                f"{self.name} has one item: nothing can be held out; --set train.held_out=0 trains on all of it"
            )
        place = _places(len(self)) if self.drawn else self.survey().hashes
        place = place[np.arange(len(self)) // self.together * self.together]
        if self.groups is not None:
            _, first, group = np.unique(self.groups, return_index=True, return_inverse=True)
            place = place[first][group]
        if place.min() == place.max():
            raise Refused(
                f"{self.name} has {len(self)} items that are all the same: nothing to hold out; "
                "--set train.held_out=0 trains on all of it"
            )
        bound = np.clip(np.uint64(held_out * 2.0**64), _fewest(place) + np.uint64(1), place.max())
        held = self._of_every_class(place, place < bound)
        return self.take(~held), self.take(held)

    def compared(self) -> Self:
        """The items without those that are only learned from."""
        groups = self.groups if self.beside is None or self.groups is None else self.groups[~self.beside]
        return self if self.beside is None else replace(self.take(~self.beside), beside=None, groups=groups)

    def with_beside(self, others: Self) -> Self:
        """The items, and others that are only learned from."""
        beside = np.repeat([False, True], [len(self), len(others)])
        conditions = {name: np.concatenate([own, others.conditions[name]]) for name, own in self.conditions.items()}
        x = np.concatenate([np.asarray(self.x[:]), np.asarray(others.x[:])])
        return replace(self, x=x, conditions=conditions, beside=beside, names=(), groups=None, known=None)

    def _in_time(self, held_out: float) -> tuple[Self, Self]:
        """The first items, and the last ones, which share no number with them."""
        few = max(round(held_out * len(self)), min(FEWEST, len(self) // 3))
        learned = len(self) - few - self.overlap
        if learned < 1 or not few:
            long = next((field for note, field in LONG.items() if note in self.notes), "window")
            raise Refused(
                f"{self.name} has {len(self)} windows: nothing is left to learn from beside what is held out; make "
                f"them shorter (--set data.{long}=N) or hold nothing out (--set train.held_out=0)"
            )
        places = np.arange(len(self))
        return self.take(places[:learned]), self.take(places[-few:])

    def texts(self, most: int) -> list[str]:
        """At most so many items as they read, spread over all; nothing where they are no text."""
        if not self.spelling:
            return []
        codec = TextCodec(self.vocabulary, **self.spelling)
        count = min(most, len(self))
        return [codec.text_of(self.x[i * len(self) // count]) for i in range(count)]

    def describe(self) -> dict[str, Any]:
        """What there is, in JSON's types: counts, shape, range, classes, and a digest that follows any change."""
        known = self.survey()
        hashes = np.sort(known.hashes)
        described: dict[str, Any] = {
            "name": self.name,
            "count": len(self),
            "distinct": 1 + int(np.count_nonzero(hashes[1:] != hashes[:-1])),
            "shape": list(self.shape),
            "dtype": self.x.dtype.name,
            "low": known.low.min().item(),
            "high": known.high.max().item(),
            "conditions": sorted(self.conditions),
            "digest": blake2b(hashes.astype("<u8").tobytes(), digest_size=8).hexdigest(),
            **self.notes,
        }
        if self.vocabulary:
            described["vocabulary"] = self.vocabulary
        if self.columns:
            described["columns"] = list(self.columns)
        if self.categories:
            named = zip(self.columns, self.categories, strict=True)
            described["categories"] = {column: list(names) for column, names in named if names}
        if self.labels is not None:
            counts = np.bincount(self.labels, minlength=len(self.classes))
            described["classes"] = dict(zip(self.classes, counts.tolist(), strict=True))
        return described

    def _of_every_class(self, place: np.ndarray, held: np.ndarray) -> np.ndarray:
        """What is held out, but for the last item of a class and those that stay together with it, (count,)."""
        fewer = held
        for lost in () if self.labels is None else np.setdiff1d(self.labels[held], self.labels[~held]):
            fewer = fewer & (place != place[self.labels == lost].max())
        return fewer if fewer.any() else held

    def _dtypes(self) -> tuple[type, ...]:
        if self.vocabulary:
            return TOKENS
        return FLOATS if self.x.ndim == 2 else (np.uint8, np.uint16, np.int16, *FLOATS)

    def _inside(self) -> None:
        """Raises Refused unless these are tokens, (count, length), of the vocabulary."""
        if self.vocabulary < 2 or self.x.ndim != 2 or self.columns:
            raise Refused(
                f"{self.name} has a vocabulary of {self.vocabulary} and items of shape {self.shape}; tokens are "
                "(count, length) with a vocabulary of 2 or more"
            )
        known = self.survey()
        low, high = int(known.low.min()), int(known.high.max())
        if low < 0 or high >= self.vocabulary:
            raise Refused(f"{self.name} has tokens {low} ... {high}; its vocabulary is 0 ... {self.vocabulary - 1}")

    def _counted(self) -> None:
        """Raises Refused unless there are as many columns as kinds of them, and categories are numbers of theirs."""
        if len(self.categories) != len(self.columns):
            raise Refused(f"{self.name} has {len(self.columns)} columns and kinds for {len(self.categories)}")
        words = [i for i, names in enumerate(self.categories) if names]
        sizes = np.array([len(self.categories[i]) for i in words])
        step = chunk(self.x)
        for start in range(0, len(self.x), step):
            values = self.x[start : start + step][:, words]
            wrong = ~((values >= 0) & (values < sizes) & (values == values.round())).all(0)
            for i in np.array(words)[wrong].tolist():
                raise Refused(
                    f"{self.name}: column {self.columns[i]!r} counts {len(self.categories[i])} categories from 0"
                )

    def _with(self, x: Items, indices: np.ndarray, conditions: dict[str, np.ndarray]) -> Self:
        """The items x, which are those at the indices."""
        known = self.known and self.known.of(x, indices)
        return type(self)(
            x,
            conditions,
            *(self.classes, self.name, self.columns, self.notes),
            known=known,
            vocabulary=self.vocabulary,
            spelling=self.spelling,
            drawn=self.drawn,
            overlap=self.overlap,
            beside=None if self.beside is None else self.beside[indices],
            categories=self.categories,
        )


def _fewest(place: np.ndarray) -> np.uint64:
    """The place up to which items are held out at least: FEWEST of them, or a third where that is less, but no more
    than half because of many that stay together.
    """
    least = np.partition(place, few := max(0, min(FEWEST, len(place) // 3) - 1))[few]
    before = place[place < least]
    return before.max() if 2 * np.count_nonzero(place <= least) > len(place) and len(before) else least


def _places(count: int) -> np.ndarray:
    """A random number for each place, always the same ones; (count,) uint64."""
    return np.random.Generator(np.random.Philox(0)).integers(2**64, size=count, dtype=np.uint64)
