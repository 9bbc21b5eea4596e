"""How guesses are steered while sampling: what a recipe's [sampler] table says of it, and what a person asks for."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from undiffuse.codecs.codec import Codec
from undiffuse.core import registry
from undiffuse.core.arguments import number, shown, text, whole
from undiffuse.core.errors import Refused, unknown
from undiffuse.guidance.extrapolation import Interval, check_interval
from undiffuse.guidance.truncation import WHOLE, check_truncation

NUMBERS = ("rescale", "temperature", "top_p")
OFF, STATIC, DYNAMIC, NEAREST = "none", "static", "dynamic", "nearest"
PERCENTILE = 0.995  # of a dynamic threshold where none is said


@dataclass(frozen=True)
class Steering:
    """What is left out, None, is as the next one says: a person's wish goes before the recipe.

    guidance: the weight of every condition that was dropped now and then in training, or one by each name.
    interval: the noise levels sigma/alpha, above the first and up to the second, in which to guide. rescale: share of
    the guess with the spread of the unguided one, see `ClassifierFree`.
    threshold: "none", "static", "dynamic" or "dynamic:PERCENTILE", see `Threshold`; of embeddings "nearest" or
    "nearest:LEVEL", see `Clamp`, up to that noise level sigma/alpha.
    temperature, top_k, top_p: of tokens' guesses, see `Truncation`; 1, 0 and 1 leave them as they are.
    Raises Refused for values that make no sense.
    """

    guidance: float | Mapping[str, float] | None = None
    interval: Interval | None = None
    rescale: float | None = None
    threshold: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        for name, value in self._plain():
            object.__setattr__(self, name, value)
        check_interval(self.interval)
        if self.rescale is not None and not 0 <= self.rescale <= 1:
            raise Refused(f"rescale is a share: from 0 to 1, not {self.rescale:g}")
        percentile(self.threshold)
        level(self.threshold)
        check_truncation(**self.cut)

    def _plain(self) -> Iterator[tuple[str, Any]]:
        """What was given, as Python's own numbers; raises Refused, by its name, for what is of another type."""
        if isinstance(self.guidance, Mapping):
            yield (
                "guidance",
                {str(name): _finite(weight, f"guidance of {name}") for name, weight in self.guidance.items()},
            )
        elif self.guidance is not None:
            yield "guidance", _finite(self.guidance, "guidance")
        if self.interval is not None:
            try:
                low, high = self.interval
            except (TypeError, ValueError):
                raise Refused(f"interval is a pair (low, high) of noise levels, not {shown(self.interval)}") from None
            yield "interval", (number(low, "interval"), number(high, "interval"))
        yield from ((name, number(v, name)) for name in NUMBERS if (v := getattr(self, name)) is not None)
        if self.threshold is not None:
            text(self.threshold, "threshold")
        if self.top_k is not None:
            yield "top_k", whole(self.top_k, "top_k")

    def over(self, other: "Steering") -> "Steering":
        """This, and what the other says where this is silent."""
        said = {name: getattr(other, name) for name in NAMES if getattr(self, name) is None}
        return replace(Steering(*(getattr(self, name) for name in NAMES)), **said)

    def described(self) -> dict[str, Any]:
        """In JSON's types, None for what nobody says."""
        guidance = dict(self.guidance) if isinstance(self.guidance, Mapping) else self.guidance
        ends = None if self.interval is None else [end if end < float("inf") else "inf" for end in self.interval]
        return {name: getattr(self, name) for name in NAMES} | {"guidance": guidance, "interval": ends}

    def words(self) -> str:
        """For people: "guidance 2 where the noise level is in (0.2, 5]"; "" for none."""
        found: list[str] = []
        if self.guidance is not None:
            named = self.guidance.items() if isinstance(self.guidance, Mapping) else [("", self.guidance)]
            found.append("guidance " + ", ".join(f"{name} {weight:g}".strip() for name, weight in named))
            if self.interval is not None:
                found[-1] += f" where the noise level is in ({self.interval[0]:g}, {self.interval[1]:g}]"
            found += [f"rescaled by {self.rescale:g}"] if self.rescale else []
        found += [f"threshold {self.threshold}"] if self.thresholded else []
        return ", ".join([*found, *(f"{name.replace('_', '-')} {value:g}" for name, value in self.cut.items())])

    @property
    def thresholded(self) -> bool:
        """Whether guesses are kept inside the data's range."""
        return self.threshold not in (None, OFF)

    @property
    def cut(self) -> dict[str, Any]:
        """The fields of `Truncation` that change a guess; nothing where nobody asks for any."""
        said = {name: getattr(self, name) for name in WHOLE}
        return {name: value for name, value in said.items() if value not in (None, WHOLE[name])}

    @classmethod
    def read(
        cls, guidance: str | None = None, interval: str | None = None, rescale: float | None = None,
        threshold: str | None = None, temperature: float | None = None, top_k: int | None = None,
        top_p: float | None = None,
    ) -> Self:  # fmt: skip
        """From the words of a command line: "4" or "text=4,style=1.5", and "0.2,5"; raises Refused for other words."""
        ends = None if interval is None else _numbers(interval, f"--interval is LOW,HIGH, as 0.2,5; not {interval!r}")
        if ends is not None and len(ends) != 2:
            raise Refused(f"--interval is LOW,HIGH, as 0.2,5; not {interval!r}")
        weights: Any = None if guidance is None else _weights(guidance)
        between: Any = ends
        return cls(weights, between, rescale, threshold, temperature, top_k, top_p)


NAMES = tuple(field.name for field in fields(Steering))


def percentile(threshold: str | None) -> float | None:
    """The percentile of a dynamic threshold, None for the others; raises Refused for a threshold that there is not."""
    if threshold in (None, OFF, STATIC):
        return None
    kind, colon, text = str(threshold).partition(":")
    if kind == NEAREST:
        return None
    if kind != DYNAMIC:
        known = (OFF, STATIC, DYNAMIC, f"{DYNAMIC}:{PERCENTILE}", NEAREST, f"{NEAREST}:1")
        raise unknown("threshold", kind, known)
    says = f"threshold is dynamic:PERCENTILE with a share in (0, 1], as dynamic:{PERCENTILE}; not {threshold!r}"
    (share,) = _numbers(text, says)[:1] if colon else (PERCENTILE,)
    if not 0 < share <= 1:
        raise Refused(says)
    return share


def level(threshold: str | None) -> float | None:
    """The noise level sigma/alpha up to which guesses are clamped to the nearest embedding, None where they are not."""
    kind, colon, text = str(threshold).partition(":")
    if kind != NEAREST:
        return None
    says = f"threshold is nearest:LEVEL with a noise level above 0, as nearest:1; not {threshold!r}"
    (highest,) = _numbers(text, says)[:1] if colon else (float("inf"),)
    if not highest > 0:
        raise Refused(says)
    return highest


def bounds(codec: Codec, threshold: str) -> tuple[float, float]:
    """The range of what a codec encodes to; raises Refused where it has none."""
    if codec.bounds is None:
        raise Refused(
            f"threshold = {threshold!r} needs data with bounds, such as those of codec 'pixels'; latents, tokens and "
            f"what {registry.name_of(codec)!r} encodes have none"
        )
    return codec.bounds


def refuse_unfit(steering: Steering, codec: Codec, embedded: bool = False) -> None:
    """Raises Refused for a threshold of data without bounds, for one to the nearest embedding where there are none, and
    for truncation, by its name, of what is no tokens. embedded: whether states are embeddings of tokens.
    """
    if level(steering.threshold) is not None:
        if not embedded:
            raise Refused(
                f"threshold = {steering.threshold!r} needs a model of embeddings, as text-diffusion-lm trains"
            )
    elif steering.thresholded:
        bounds(codec, str(steering.threshold))
    for name, value in list(steering.cut.items())[:1]:
        asked = f"{name} = {value:g} is for guesses of tokens, and "
        if embedded:
            raise Refused(f"{asked}those of this model are embeddings")
        if not codec.tokens:
            name = registry.name_of(codec)
            raise Refused(f"{asked}codec {name!r} makes none: guesses of values are kept in their range by threshold")


def _finite(weight: Any, name: str) -> float:
    if not math.isfinite(found := number(weight, name)):
        raise Refused(f"{name} is a finite weight, not {found}")
    return found


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
