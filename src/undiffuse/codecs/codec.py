"""The edge of a model: data in their own units on one side, numbers fit for a process on the other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.progress import progress_bar

SLICE = 2**24  # bytes that are looked at together


class ArrayLike(Protocol):
    """An array, or anything that has its shape and dtype and gives an array for a slice, such as rows on a disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __getitem__(self, which: Any, /) -> Any: ...


class Codec(ABC):
    """Encodes data to numbers of about unit scale and decodes them back; all that was fitted is in its fields.

    tokens: whether it encodes to tokens, int64 from 0, of which there are `vocabulary`, as frequent as `frequencies`.
    mixed: whether it encodes to rows, `numbers` numbers first and then the tokens of categories, of `vocabularies`.
    bounds: of what it encodes data to; None: there are none. low, high: the ends of the data's range that become these.
    levels: how many even ones from -1 to 1 it encodes to, whatever the data are; 0: it does not. values: what tokens
    stand for, where they are levels. categories: the names of each column's. decimals: of each
    column of numbers. pad: the token of places behind a text's end; -1: there is none. dtype: of the data; "": unknown.
    lossy: whether decoding brings back another item than was encoded. normalises: whether what it encodes has mean 0
    and deviation 1. embeds: whether `vectors` of items are modelled in their place. stamp: what tells the costly part
    of encoding, `prepare`, from any other; "": there is none.
    reads: the condition from which it makes others, see `added`; adds: these by name, each with its form and its shape
    as networks take it: `encode`, `finish` and `decode` are told them, see `told`.
    What a codec does not have is empty.
    """

    tokens: bool = False
    mixed: ClassVar[bool] = False
    lossy: ClassVar[bool] = False
    normalises: ClassVar[bool] = False
    embeds: ClassVar[bool] = False
    bounds: ClassVar[tuple[float, float] | None] = None

    levels: int = 0
    vocabulary: int = 0
    frequencies: Any = ()
    numbers: int = 0
    vocabularies: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    categories: tuple[tuple[str, ...], ...] = ()
    decimals: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    pad: int = -1
    dtype: str = ""
    stamp: str = ""
    reads: str = ""

    @property
    def space(self) -> str:
        """The digest of the pair of encoders that make `vectors`, of a codec that `embeds`."""
        return ""

    def vectors(self, x: np.ndarray) -> np.ndarray:
        """What is modelled in the place of items x (count, ...): their unit vectors (count, d), float32."""
        raise NotImplementedError

    @property
    def adds(self) -> Mapping[str, tuple[Any, tuple[int, ...]]]:
        """The conditions that it makes of the one that it reads; none for most codecs."""
        return {}

    @property
    def blurs(self) -> Mapping[str, float]:
        """Deviations of the noise by which training widens conditions, by name, where items are few; none for most."""
        return {}

    @property
    def reader(self) -> Callable[[Sequence[int] | np.ndarray], str] | None:
        """What makes a text of tokens; None for a codec that spells none."""
        return None

    @property
    def spelling(self) -> tuple[Any, ...]:
        """What two codecs of tokens share if the same tokens mean the same."""
        return (self.vocabulary,)

    @abstractmethod
    def fit(self, x: ArrayLike, **beside: ArrayLike) -> Self:
        """A copy fitted to the items x, (count, *shape); they are read in slices.

        beside: the condition that it `reads`, (count, ...) in the data's units.
        """

    @abstractmethod
    def encode(self, x: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """The items x, (count, *shape) in the data's units, as float32 of about unit scale.

        random: of a codec that draws what it encodes to; None: the most likely value. cond: what it `adds`, (count,
        ...); raises Refused where that is not said.
        """

    @abstractmethod
    def decode(self, z: Tensor, **cond: Tensor) -> Tensor:
        """The inverse of `encode`, in the data's own dtype and range: integers are rounded and clipped."""

    def prepare(self, x: np.ndarray | Tensor) -> Tensor:
        """The costly part of encoding, the same every time, so that it is done once and kept; see `stamp`."""
        raise NotImplementedError

    def fit_prepared(self, x: ArrayLike, prepared: ArrayLike) -> Self:
        """`fit` to the items x, where `prepare` has been done for them: each maybe in several mirror images."""
        return self.fit(x)

    def finish(self, prepared: np.ndarray | Tensor, random: Random | None = None, **cond: Tensor) -> Tensor:
        """`encode` of items that `prepare` has been done for, where it is costly, else of the items as they are."""
        return self.encode(prepared, random, **cond)

    def nearest(self, x: np.ndarray) -> np.ndarray:
        """The numbers x in the data's units, of any shape, each brought to the nearest one that it can encode."""
        return x

    def encoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that an item of this shape is encoded to; raises Refused for one that cannot be encoded."""
        return shape

    def decoded_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the item that is encoded to this shape."""
        return shape

    def explained(self, x: np.ndarray | Tensor, random: Random) -> tuple[Tensor, Tensor]:
        """Of a lossy codec: z drawn given x, and log p(x given z) - log q(z given x) in nats, (count,)."""
        raise NotImplementedError

    def no_density(self) -> str:
        """Why densities of what it encodes say nothing of the data; "" where they do."""
        return ""

    def features(self, z: Tensor) -> list[Tensor]:
        """Of a lossy codec: what its decoder computes on its way from z, see `LatentSpace.features`."""
        raise NotImplementedError

    def added(self, values: Tensor, learned: bool = False) -> dict[str, Any]:
        """The conditions that it `adds`, (count, ...) in float32, of values (count, ...) in the data's units of the one
        that it `reads`. learned: they are those of the training data.
        """
        return {}

    def told(self, cond: Mapping[str, Any]) -> dict[str, Any]:
        """Of the conditions of some items those that encoding and decoding them need."""
        return {name: cond[name] for name in self.adds if name in cond}

    def encode_known(self, x: np.ndarray | Tensor, known: Tensor) -> Tensor:
        """`encode` of items x of which a part is known, booleans that broadcast to them: 0, or what stands for the
        middle of their range, in the place of the rest.
        """
        z = self.encode(x)
        return z * known.to(z)

    def known(self, mask: Tensor) -> Tensor:
        """Which of the encoded numbers are known, (batch, ...), where these numbers of an item are."""
        return mask

    def log_det(self, shape: tuple[int, ...]) -> float:
        """log |det d encode / dx| of an item of this shape in nats, which a density in the data's units needs.

        Raises Refused for a codec that is not affine.
        """
        raise Refused(
            f"codec {registry.name_of(self)!r} is not affine: densities of what it encodes are none of the data"
        )


def fitted(
    table: Mapping[str, Any],
    x: ArrayLike,
    runs: registry.Runs | None = None,
    prepared: Callable[[Codec], ArrayLike] | None = None,
    beside: Mapping[str, ArrayLike] = MappingProxyType({}),
    **known: Any,
) -> Codec:
    """The codec that a recipe's table describes, fitted to the items x. runs: see `registry.build`. prepared: makes
    what `Codec.fit_prepared` takes of a codec that is not fitted yet. beside: the conditions of the items. known: what
    the data say of themselves.

    Raises Refused, with the field's name, for a field in the table that fitting takes from the data all the same, and
    where the data lack the condition that the codec reads.
    """
    own = {name: table[name] for name in table if name in known and table[name] != known[name]}
    made = registry.build(
        "codecs", {name: value for name, value in table.items() if name not in own}, runs=runs, **known
    )
    if made.reads and made.reads not in beside:
        raise Refused(
            f"codec {table['name']!r} needs the condition {made.reads!r}: write [conditions.{made.reads}] with kind = "
            "'vector' and of = 'item'"
        )
    given = {made.reads: beside[made.reads]} if made.reads else {}
    found = made.fit_prepared(x, prepared(made)) if prepared and made.stamp else made.fit(x, **given)
    own |= {name: table[name] for name in table if name != "name" and getattr(found, name) != getattr(made, name)}
    for name, value in own.items():
        said = str(getattr(found, name))[:80]
        raise Refused(f"codec.{name} = {str(value)[:80]} cannot be set: the data say it, {said}; leave it out")
    return found


def slices(x: ArrayLike) -> Iterator[np.ndarray]:
    """The items, (k, *shape) at a time."""
    step = max(1, SLICE * len(x) // max(1, x.nbytes))
    starts = progress_bar(range(0, len(x), step), desc="measuring", unit="slice", delay=2, leave=False)
    return (x[i : i + step] for i in starts)


def as_float(x: np.ndarray | Tensor) -> Tensor:
    """x as a float32 tensor; a tensor stays on its device."""
    return x.to(torch.float32) if isinstance(x, Tensor) else torch.from_numpy(np.array(x, dtype=np.float32))


def as_number(x: np.ndarray | Tensor) -> Tensor:
    """x as a float32 tensor, or a float64 one where it is float64; a tensor stays on its device."""
    wide = x.dtype in (torch.float64, np.float64)
    return (x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))) if wide else as_float(x)


def as_dtype(x: Tensor, dtype: str) -> Tensor:
    """x in the dtype of that name; for integers it is rounded and clipped to what the dtype holds."""
    target = getattr(torch, dtype)
    if target.is_floating_point:
        return x.to(target)
    limits = torch.iinfo(target)
    return x.round().clamp(limits.min, limits.max).to(target)
