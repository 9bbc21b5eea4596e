"""How guesses are steered while sampling: what a recipe's [sampler] table says of it, and what a person asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from undiffuse.codecs.codec import Codec
from undiffuse.core.errors import Refused, unknown
from undiffuse.guidance.extrapolation import Interval, check_interval

OFF, STATIC, DYNAMIC = "none", "static", "dynamic"
PERCENTILE = 0.995  # of a dynamic threshold where none is said


@dataclass(frozen=True)
class Steering:
    """What is left out, None, is as the next one says: a person's wish goes before the recipe.

    guidance: the weight of every condition that was hidden now and then in training, or one by each name.
    interval: the noise levels sigma/alpha, above the first and up to the second, in which to guide. rescale: share of
    the guess with the spread of the unguided one, see `ClassifierFree`.
    threshold: "none", "static", "dynamic" or "dynamic:PERCENTILE", see `Threshold`.
    Raises Refused for values that make no sense.
    """

    guidance: float | Mapping[str, float] | None = None
    interval: Interval | None = None
    rescale: float | None = None
    threshold: str | None = None

    def __post_init__(self) -> None:
        check_interval(self.interval)
        if self.rescale is not None and not 0 <= self.rescale <= 1:
            raise Refused(f"rescale is a share: from 0 to 1, not {self.rescale:g}")
        percentile(self.threshold)

    def over(self, other: "Steering") -> "Steering":
        """This, and what the other says where this is silent."""
        said = {name: getattr(other, name) for name in NAMES if getattr(self, name) is None}
        return replace(Steering(*(getattr(self, name) for name in NAMES)), **said)

    def described(self) -> dict[str, Any]:
        """In JSON's types, None for what nobody says."""
        guidance = dict(self.guidance) if isinstance(self.guidance, Mapping) else self.guidance
        ends = None if self.interval is None else [end if end < float("inf") else "inf" for end in self.interval]
        return {"guidance": guidance, "interval": ends, "rescale": self.rescale, "threshold": self.threshold}

    def words(self) -> str:
        """For people: "guidance 2 where the noise level is in (0.2, 5]"; "" for none."""
        found: list[str] = []
        if self.guidance is not None:
            named = self.guidance.items() if isinstance(self.guidance, Mapping) else [("", self.guidance)]
            found.append("guidance " + ", ".join(f"{name} {weight:g}".strip() for name, weight in named))
            if self.interval is not None:
                found[-1] += f" where the noise level is in ({self.interval[0]:g}, {self.interval[1]:g}]"
            found += [f"rescaled by {self.rescale:g}"] if self.rescale else []
        return ", ".join(found + ([f"threshold {self.threshold}"] if self.thresholded else []))

    @property
    def thresholded(self) -> bool:
        """Whether guesses are kept inside the data's range."""
        return self.threshold not in (None, OFF)

    @classmethod
    def read(
        cls, guidance: str | None = None, interval: str | None = None, rescale: float | None = None,
        threshold: str | None = None,
    ) -> Self:  # fmt: skip
        """From the words of a command line: "4" or "text=4,style=1.5", and "0.2,5"; raises Refused for other words."""
        ends = None if interval is None else _numbers(interval, f"--interval is LOW,HIGH, as 0.2,5; not {interval!r}")
        if ends is not None and len(ends) != 2:
            raise Refused(f"--interval is LOW,HIGH, as 0.2,5; not {interval!r}")
        return cls(None if guidance is None else _weights(guidance), ends, rescale, threshold)  # pyright: ignore[reportArgumentType]


NAMES = tuple(field.name for field in fields(Steering))


def percentile(threshold: str | None) -> float | None:
    """The percentile of a dynamic threshold, None for the others; raises Refused for a threshold that there is not."""
    if threshold in (None, OFF, STATIC):
        return None
    kind, colon, text = str(threshold).partition(":")
    if kind != DYNAMIC:
        raise unknown("threshold", kind, (OFF, STATIC, DYNAMIC, f"{DYNAMIC}:{PERCENTILE}"))
    says = f"threshold is dynamic:PERCENTILE with a share in (0, 1], as dynamic:{PERCENTILE}; not {threshold!r}"
    (share,) = _numbers(text, says)[:1] if colon else (PERCENTILE,)
    if not 0 < share <= 1:
        raise Refused(says)
    return share


def bounds(codec: Codec, threshold: str) -> tuple[float, float]:
    """The range of what a codec encodes to; raises Refused where it has none."""
    if codec.bounds is None:
        raise Refused(
            f"threshold = {threshold!r} needs data with bounds, such as those of codec 'pixels'; latents, tokens and "
            f"what {type(codec).__name__.lower()!r} encodes have none"
        )
    return codec.bounds


def _weights(word: str) -> float | dict[str, float]:
    says = f"--guidance is a weight or one by each name, as 4 or text=4,style=1.5; not {word!r}"
    if "=" not in word:
        weights = _numbers(word, says)
        if len(weights) != 1:
            raise Refused(says)
        return weights[0]
    found: dict[str, float] = {}
    for part in word.split(","):
        name, _, number = part.partition("=")
        if name.strip() in found:
            raise Refused(f"--guidance has two weights for {name.strip()!r}")
        found[name.strip()] = _numbers(number, says)[0]
    return found


def _numbers(word: str, says: str) -> tuple[float, ...]:
    """The numbers of a text with commas, none of them nan; raises Refused, saying so, for other texts."""
    try:
        found = tuple(float(number) for number in word.split(","))
    except ValueError:
        raise Refused(says) from None
    if any(number != number for number in found):
        raise Refused(says)
    return found
