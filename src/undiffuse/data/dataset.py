"""Items in memory with their conditions: what training learns from and judging compares with."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Self

import numpy as np

from undiffuse.core.errors import Refused


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images (count, channels, height, width) as uint8, uint16 or float32, or points (count, features) as float32.

    conditions: arrays with one row an item; `label` counts classes from 0, and `classes` names them.
    Raises Refused for no items, other shapes or dtypes, numbers that are not finite and conditions of another length.
    """

    x: np.ndarray
    conditions: dict[str, np.ndarray] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    name: str = "data"

    def __post_init__(self) -> None:
        if len(self.x) == 0:
            raise Refused(f"{self.name} has no items")
        if self.x.ndim not in (2, 4) or 0 in self.x.shape:
            raise Refused(
                f"{self.name} has shape {self.x.shape}; images are (count, channels, height, width), "
                "points (count, features)"
            )
        if self.x.dtype not in ((np.uint8, np.uint16, np.float32) if self.is_image else (np.float32,)):
            raise Refused(f"{self.name} has dtype {self.x.dtype}; images are uint8, uint16 or float32, points float32")
        if self.x.dtype == np.float32:
            refuse_not_finite(self.x, self.name)
        for key, values in self.conditions.items():
            if len(values) != len(self.x):
                raise Refused(f"{self.name} has {len(self.x)} items and {len(values)} values of {key!r}")
        labels = self.conditions.get("label")
        if labels is not None and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            raise Refused(f"{self.name} has labels {labels.min()}..{labels.max()} and {len(self.classes)} classes")

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
    def labels(self) -> np.ndarray | None:
        """The class of each item, (count,), or None."""
        return self.conditions.get("label")

    def take(self, indices: np.ndarray) -> Self:
        """The items at these indices (or where this mask is true), with their conditions."""
        conditions = {key: values[indices] for key, values in self.conditions.items()}
        return type(self)(self.x[indices], conditions, self.classes, self.name)

    def split(self, held_out: float = 0.2) -> tuple[Self, Self]:
        """Training part and held-out part; an item's bytes alone decide where it goes.

        held out if blake2b(bytes) / 2^64 < held_out: the share is met on average, equal items stay together, and
        neither the order of the items nor new ones move an old one. If one side stays empty, the item nearest to the
        bound goes there.
        Raises Refused for a share that is not between 0 and 1 and for fewer than two different items.
        """
        if not 0 < held_out < 1:
            raise Refused(f"held_out = {held_out} is not a share between 0 and 1; 0.2 holds out every fifth item")
        place = self._hashes()
        if place.min() == place.max():
            raise Refused(f"{self.name} has {len(self)} items that are all the same: nothing to hold out")
        bound = np.uint64(held_out * 2.0**64)
        held = place < np.clip(bound, place.min() + np.uint64(1), place.max())
        return self.take(~held), self.take(held)

    def describe(self) -> dict[str, Any]:
        """What there is, in JSON's types: counts, shape, range, classes, and a digest that follows any change."""
        hashes = np.sort(self._hashes())
        described: dict[str, Any] = {
            "name": self.name,
            "count": len(self),
            "distinct": len(np.unique(hashes)),
            "shape": list(self.shape),
            "dtype": self.x.dtype.name,
            "low": self.x.min().item(),
            "high": self.x.max().item(),
            "conditions": sorted(self.conditions),
            "digest": blake2b(hashes.astype("<u8").tobytes(), digest_size=8).hexdigest(),
        }
        if self.labels is not None:
            counts = np.bincount(self.labels, minlength=len(self.classes))
            described["classes"] = dict(zip(self.classes, counts.tolist(), strict=True))
        return described

    def _hashes(self) -> np.ndarray:
        """blake2b of each item's bytes (little-endian), as uint64, (count,)."""
        little = np.ascontiguousarray(self.x, dtype=self.x.dtype.newbyteorder("<"))
        digests = (blake2b(item.tobytes(), digest_size=8).digest() for item in little)
        return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def refuse_not_finite(x: np.ndarray, name: str) -> None:
    """Raises Refused if x, (count, ...), has NaN or infinite numbers: how many, and where the first one is."""
    bad = ~np.isfinite(x)
    if bad.any():
        first = np.unravel_index(int(bad.argmax()), x.shape)
        raise Refused(
            f"{name} has {int(bad.sum())} numbers that are NaN or infinite; "
            f"the first is at index {tuple(map(int, first))}"
        )
